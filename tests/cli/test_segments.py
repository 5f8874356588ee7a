"""``compile`` and ``run`` of a network that the host has a part in."""

from pathlib import Path

import numpy as np
import pytest

from systolith.cli.arrays import read_array, write_array
from tests.tflite_hosted import activation, block
from tests.tflite_models import Model, reference
from tests.tflite_networks import convolve

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def model():
    m = Model(np.random.default_rng(1))
    x = m.map((12, 12, 3))
    return m.finish([x], [block(m, activation(m, "HARD_SWISH", convolve(m, x, 8)))])


def test_compile_and_run(systolith, tmp_path, model):
    path, program, x, y = (tmp_path / name for name in ("m.tflite", "m.sth", "x.npy", "y.npy"))
    path.write_bytes(model)
    result = systolith("compile", path, "-t", "ulx3s-85f", "-o", program, "--json").json
    assert result["segments"] == 5
    assert result["cycles"] == sum(layer["cycles"] for layer in result["layers"])
    images = np.random.default_rng(0).integers(-128, 128, (7, 12, 12, 3), dtype=np.int8)
    write_array(x, images)
    ran = systolith("run", program, "--device", "machine:", "--input", x, "--output", y,
                    "--json").json
    assert ran["cycles_per_image"] == ran["predicted_cycles"] == result["cycles"]
    np.testing.assert_array_equal(read_array(y), reference(model, images)[0])


def test_what_compile_says(systolith, tmp_path, model):
    (tmp_path / "m.tflite").write_bytes(model)
    run = systolith("compile", tmp_path / "m.tflite", "-t", "ulx3s-85f", "-o", tmp_path / "m.sth")
    assert run.code == 0
    assert "HARD_SWISH on the host" in run.out and "MUL on the host" in run.out
    assert "Segments 5 programs" in run.out


def test_damaged_and_wrong_data(systolith, tmp_path, model):
    path, program, x = tmp_path / "m.tflite", tmp_path / "m.sth", tmp_path / "x.npy"
    path.write_bytes(model)
    assert systolith("compile", path, "-t", "ulx3s-85f", "-o", program).code == 0
    write_array(x, np.zeros((2, 12, 12, 4), np.int8))
    run = systolith("run", program, "-d", "machine:", "-i", x, "-o", tmp_path / "y.npy")
    assert run.code == 3 and "nx12x12x3" in run.err and run.err.count("\n") == 1
    program.write_bytes(program.read_bytes()[:-40])
    run = systolith("run", program, "-d", "machine:", "-i", x, "-o", tmp_path / "y.npy")
    assert run.code == 5 and "damaged" in run.err and run.err.count("\n") == 1


def test_a_network_that_memory_cannot_hold(systolith, tmp_path):
    autoencoder = EXAMPLES / "autoencoder/autoencoder_int8.onnx"
    arguments = autoencoder, "-t", "icebreaker"
    refused = systolith("compile", *arguments, "-o", tmp_path / "a.sth")
    assert refused.code == 4 and "--divide" in refused.err and not list(tmp_path.iterdir())
    run = systolith("compile", *arguments, "-o", tmp_path / "a.sth", "--divide")
    assert run.code == 0 and "Segments 3 programs, one after the other" in run.out
    explained = systolith("explain", *arguments, "--divide", "--json").json
    assert explained["runs"] and explained["segments"] == 3
    assert all(node["cycles"] for node in explained["nodes"] if node["where"] == "array")


def test_a_network_that_is_all_the_hosts(systolith, tmp_path):
    m = Model(np.random.default_rng(1))
    a, b = m.map((4, 4, 3)), m.map((4, 4, 3))
    path = tmp_path / "m.tflite"
    path.write_bytes(m.finish([a, b], [m.op("MUL", [a, b], m.map((4, 4, 3)), "MulOptions")]))
    for arguments in (["explain"], ["compile", "-o", tmp_path / "m.sth"]):
        run = systolith(*arguments, path, "-t", "ulx3s-85f")
        assert run.code == 0 and "no program: the host does everything" in run.out
        assert "largest" not in run.out and "Memory" not in run.out
