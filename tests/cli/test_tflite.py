"""``compile`` and ``run`` of TFLite models: MLPerf Tiny's networks, and files that are none."""

from pathlib import Path

import numpy as np
import pytest

from systolith.cli.arrays import read_array, write_array
from tests.tflite_models import reference

EXAMPLES = Path(__file__).parents[2] / "examples"
RESNET, DSCNN = EXAMPLES / "resnet8/resnet8_int8.tflite", EXAMPLES / "dscnn/dscnn_int8.tflite"


@pytest.mark.parametrize("path,shape,macs", [
    (RESNET, (32, 32, 3), 12_501_632), (DSCNN, (49, 10, 1), 2_656_768)], ids=["resnet8", "dscnn"])
def test_mlperf_tiny_equals_the_reference_kernels(systolith, tmp_path, path, shape, macs):
    program, x, y = (tmp_path / name for name in ("net.sth", "x.npy", "y.npy"))
    result = systolith("compile", path, "-t", "ulx3s-85f", "-o", program, "--json").json
    assert result["macs"] == macs
    images = np.random.default_rng(0).integers(-128, 128, (20, *shape), dtype=np.int8)
    write_array(x, images)
    ran = systolith("run", program, "--device", "machine:", "--input", x, "--output", y,
                    "--json").json
    assert ran["cycles_per_image"] == result["cycles"]
    np.testing.assert_array_equal(read_array(y), reference(path.read_bytes(), images)[0])


@pytest.mark.parametrize("shape,dtype,word", [
    ((2, 3, 32, 32), "int8", "nx32x32x3"), ((2, 32, 32, 3), "float32", "int8")])
def test_input_in_another_layout_or_type(systolith, tmp_path, shape, dtype, word):
    program, x = tmp_path / "net.sth", tmp_path / "x.npy"
    assert systolith("compile", RESNET, "-t", "ulx3s-85f", "-o", program).code == 0
    write_array(x, np.zeros(shape, dtype))
    run = systolith("run", program, "--device", "machine:", "--input", x, "--output",
                    tmp_path / "y.npy")
    assert run.code == 3 and word in run.err and run.err.count("\n") == 1


@pytest.mark.parametrize("content", [
    b"", b"no flatbuffer at all", DSCNN.read_bytes()[:100], DSCNN.read_bytes()[:30_000],
    DSCNN.read_bytes()[:8] + bytes(40_000), (EXAMPLES / "lenet/lenet_int8.onnx").read_bytes()],
    ids=["empty", "text", "start", "half", "zeros", "onnx"])
def test_compile_of_a_damaged_file(systolith, tmp_path, content):
    path, program = tmp_path / "net.tflite", tmp_path / "net.sth"
    path.write_bytes(content)
    run = systolith("compile", path, "-t", "ulx3s-85f", "-o", program)
    assert run.code == 2 and run.out == "" and "net.tflite" in run.err
    assert run.err.count("\n") == 1 and not program.exists()


def test_compile_of_a_missing_file(systolith, tmp_path):
    run = systolith("compile", tmp_path / "no.tflite", "-t", "ulx3s-85f", "-o", tmp_path / "o.sth")
    assert run.code == 2 and "no.tflite" in run.err and run.err.count("\n") == 1


def test_calibration_data_are_for_float_models(systolith, tmp_path):
    write_array(tmp_path / "c.npy", np.zeros((2, 32, 32, 3), np.float32))
    run = systolith("compile", RESNET, "-t", "ulx3s-85f", "-o", tmp_path / "o.sth",
                    "--calibrate", tmp_path / "c.npy")
    assert run.code == 2 and "calibration" in run.err and run.err.count("\n") == 1
