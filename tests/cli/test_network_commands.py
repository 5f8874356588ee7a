"""``compile``, ``run`` and ``demo`` on the demo's network and the instruction-level model."""

from pathlib import Path

import numpy as np
import pytest

from systolith.boards.targets import TARGETS
from systolith.cli.arrays import read_array, write_array
from systolith.cli.demo import LENET, Outcome
from systolith.sim.golden import run_model
from systolith.sw.importer.load import load_model

MODEL = LENET / "lenet_int8.onnx"


@pytest.fixture(scope="module")
def images():
    with np.load(LENET / "digits.npz") as digits:
        return (digits["images"][:3] / np.float32(255)).astype(np.float32)[:, None]


@pytest.fixture
def program(systolith, tmp_path):
    path = tmp_path / "lenet.sth"
    assert systolith("compile", MODEL, "--target", "ulx3s-85f", "-o", path).code == 0
    return path


def test_compile_prints_a_line_a_layer(systolith, tmp_path):
    run = systolith("compile", MODEL, "-t", "ulx3s-85f", "-o", tmp_path / "lenet.sth")
    assert run.code == 0
    for words in ("conv1", "fc3", "Gemm", "sum", "of feature maps", "ulx3s-85f (16x8"):
        assert words in run.out
    assert (tmp_path / "lenet.sth").stat().st_size > 60_000


def test_compile_json_has_the_promised_keys(systolith, tmp_path):
    result = systolith("compile", MODEL, "-t", "ulx3s-85f", "-o", tmp_path / "l.sth",
                       "--json").json
    assert result["macs"] == 416_520 == sum(layer["macs"] for layer in result["layers"])
    assert result["cycles"] == sum(layer["cycles"] for layer in result["layers"])
    assert result["utilization"] == pytest.approx(416_520 / 128 / result["cycles"], abs=1e-4)
    assert {"name", "op", "macs", "cycles"} <= set(result["layers"][0])
    assert result["memory"]["constants"] >= 61_470


@pytest.mark.parametrize("content,message", [
    (b"", "lenet.onnx"), (b"no protobuf at all", "lenet.onnx"), (None, "lenet.onnx"),
])
def test_compile_of_a_damaged_model(systolith, tmp_path, content, message):
    model, output = tmp_path / "lenet.onnx", tmp_path / "lenet.sth"
    model.write_bytes(MODEL.read_bytes()[:20_000] if content is None else content)
    run = systolith("compile", model, "-t", "ulx3s-85f", "-o", output)
    assert run.code == 2 and run.out == "" and message in run.err
    assert run.err.count("\n") == 1 and not output.exists()


def test_compile_of_a_missing_model(systolith, tmp_path):
    run = systolith("compile", tmp_path / "no.onnx", "-t", "ulx3s-85f", "-o", tmp_path / "o.sth")
    assert run.code in (1, 2) and "no.onnx" in run.err and run.err.count("\n") == 1


def test_compile_with_nan_in_the_calibration(systolith, tmp_path, images):
    calibration, output = tmp_path / "c.npy", tmp_path / "o.sth"
    write_array(calibration, np.full_like(images, np.nan))
    run = systolith("compile", LENET / "lenet_float.onnx", "-t", "ulx3s-85f", "-o", output,
                    "--calibrate", calibration)
    assert run.code == 3 and "NaN" in run.err and not output.exists()


def test_compile_of_a_float_model(systolith, tmp_path):
    """The way of a PyTorch user: export, calibrate, run."""
    with np.load(LENET / "digits.npz") as digits:
        x = (digits["images"][:120] / np.float32(255)).astype(np.float32)[:, None]
        labels = digits["labels"][100:120]
    typical, program = tmp_path / "typical.npy", tmp_path / "lenet.sth"
    write_array(typical, x[:100])
    write_array(tmp_path / "x.npy", x[100:])
    assert systolith("compile", LENET / "lenet_float.onnx", "-t", "ulx3s-85f", "-o", program,
                     "--calibrate", typical).code == 0
    assert systolith("run", program, "--device", "machine:", "--input", tmp_path / "x.npy",
                     "--output", tmp_path / "y.npy").code == 0
    assert np.array_equal(read_array(tmp_path / "y.npy").argmax(axis=1), labels)


def test_compile_into_a_missing_folder(systolith, tmp_path):
    run = systolith("compile", MODEL, "-t", "ulx3s-85f", "-o", tmp_path / "no" / "o.sth")
    assert run.code == 1 and "folder of the output file does not exist" in run.err


def test_run_gives_the_golden_models_answers(systolith, program, tmp_path, images):
    write_array(tmp_path / "x.npy", images)
    result = systolith("run", program, "--device", "machine:", "--input", tmp_path / "x.npy",
                       "--output", tmp_path / "y.npy", "--json").json
    golden = run_model(load_model(MODEL), images)[0]
    assert np.array_equal(read_array(tmp_path / "y.npy"), golden)
    assert result["images"] == 3
    assert result["cycles_per_image"] == pytest.approx(result["predicted_cycles"], rel=0.01)
    assert 0 < result["utilization"] < 1 and result["images_per_second"] > 0


def test_a_batch_gives_the_same_answers(systolith, tmp_path, images):
    program, output = tmp_path / "lenet8.sth", tmp_path / "y.npy"
    result = systolith("compile", MODEL, "-t", "ulx3s-85f", "-o", program, "--batch", "8",
                       "--json").json
    assert result["batch"] == 8 and result["cycles"] == 8 * result["cycles_per_image"]
    assert result["macs"] == 8 * 416_520 and result["utilization"] > 0.7
    write_array(tmp_path / "x.npy", images)
    ran = systolith("run", program, "-d", "machine:", "-i", tmp_path / "x.npy", "-o", output,
                    "--json").json
    assert ran["cycles_per_image"] == ran["predicted_cycles"] == result["cycles_per_image"]
    assert ran["utilization"] == result["utilization"]
    np.testing.assert_array_equal(read_array(output), run_model(load_model(MODEL), images)[0])


def test_a_batch_that_does_not_fit(systolith, tmp_path):
    run = systolith("compile", MODEL, "-t", "icebreaker", "-o", tmp_path / "l.sth",
                    "--batch", "100")
    assert run.code == 4
    assert "100 images at once do not fit: " in run.err
    assert "the most that fit are " in run.err


@pytest.mark.parametrize("array,message", [
    (np.zeros((2, 1, 28, 27), np.float32), "must have the shape nx1x28x28"),
    (np.zeros((2, 1, 28, 28), np.int8), "must be of type float32, not int8"),
    (np.full((2, 1, 28, 28), np.nan, np.float32), "contains NaN"),
])
def test_run_with_unusable_images(systolith, program, tmp_path, array, message):
    write_array(tmp_path / "x.npy", array)
    run = systolith("run", program, "--device", "machine:", "--input", tmp_path / "x.npy",
                    "--output", tmp_path / "y.npy")
    assert run.code == 3 and run.err.startswith(f"systolith: {tmp_path}/x.npy: ")
    assert message in run.err and run.err.count("\n") == 1
    assert not (tmp_path / "y.npy").exists()


@pytest.mark.parametrize("device,message", [
    ("warp:", "'warp:' names no device"),
    ("serial:/dev/nowhere", "/dev/nowhere"),
])
def test_run_on_no_device(systolith, program, tmp_path, images, device, message):
    write_array(tmp_path / "x.npy", images)
    run = systolith("run", program, "--device", device, "--input", tmp_path / "x.npy",
                    "--output", tmp_path / "y.npy")
    assert run.code == 6 and message in run.err and run.err.count("\n") == 1


def test_run_of_a_damaged_program(systolith, program, tmp_path, images):
    write_array(tmp_path / "x.npy", images)
    whole = program.read_bytes()
    for content in (b"", whole[:1000], whole[:-1], whole[:5000] + b"!" + whole[5001:]):
        program.write_bytes(content)
        run = systolith("run", program, "--device", "machine:", "--input", tmp_path / "x.npy",
                        "--output", tmp_path / "y.npy")
        assert run.code == 5 and str(program) in run.err and run.err.count("\n") == 1


@pytest.mark.slow
def test_demo_on_the_instruction_level_model(systolith):
    run = systolith("demo", "--device", "machine:", "--images", 20, "--json")
    assert run.code == 0, run.err
    result = run.json
    assert result["images"] == 20 and result["accuracy"] >= 0.95
    assert result["bit_exact"] is True and result["max_lsb_vs_onnxruntime"] <= 1
    assert result["cycles_per_image"] == pytest.approx(result["predicted_cycles"], rel=0.01)
    clock = TARGETS["ulx3s-85f"].clock_hz / 1e6
    assert "█" in run.err and f"ms an image on the board at {clock:g} MHz" in run.err


@pytest.mark.parametrize("bit_exact,max_lsb,good", [
    (True, 1, True), (True, 0, True), (False, 0, False), (True, 2, False)])
def test_when_the_demo_fails(bit_exact, max_lsb, good):
    outcome = Outcome(images=4, correct=3, bit_exact=bit_exact, max_lsb=max_lsb,
                      cycles_per_image=1.0, images_per_second=1.0)
    assert outcome.good is good and outcome.accuracy == 0.75


def test_the_demo_is_for_a_target_there_is():
    assert "ulx3s-85f" in TARGETS and Path(MODEL).stat().st_size < 300_000
