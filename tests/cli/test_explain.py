"""``explain``: tables for people, JSON alone on stdout, the exit codes of ``compile``."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from systolith.cli.arrays import write_array
from tests import onnx_operators, tflite_operators

EXAMPLES = Path(__file__).parents[2] / "examples"
LENET = EXAMPLES / "lenet"
MOBILENET = EXAMPLES / "mobilenetv1_025/mobilenetv1_025_int8.onnx"
RESNET = EXAMPLES / "resnet8/resnet8_int8.tflite"


@pytest.mark.parametrize("model, words", [
    (LENET / "lenet_int8.onnx", ["fused into #1", "layout", "fc3", "cycles an image"]),
    (RESNET, ["CONV_2D", "SOFTMAX", "at the model's end"])])
def test_a_model_that_runs(systolith, model, words):
    run = systolith("explain", model, "-t", "ulx3s-85f")
    assert run.code == 0 and "Runs on  ulx3s-85f" in run.out
    for word in words:
        assert word in run.out


def test_json_alone_on_stdout_agrees_with_compile(systolith, tmp_path):
    result = systolith("explain", LENET / "lenet_int8.onnx", "-t", "ulx3s-85f", "--json").json
    compiled = systolith("compile", LENET / "lenet_int8.onnx", "-t", "ulx3s-85f", "-o",
                         tmp_path / "l.sth", "--json").json
    assert result["runs"] and result["blocks"] == []
    assert result["cycles"] == compiled["cycles"]
    assert result["memory"]["constants"] == compiled["memory"]["constants"]
    assert {node["node"]: node["cycles"] for node in result["nodes"] if node["cycles"]} == {
        layer["name"]: layer["cycles"] for layer in compiled["layers"]}


@pytest.mark.parametrize("model", [MOBILENET, RESNET])
def test_a_model_the_target_cannot_run(systolith, tmp_path, model):
    run = systolith("explain", model, "-t", "icebreaker")
    assert run.code == 4 and "Does not run on icebreaker" in run.out
    assert "To unblock: " in run.out and "It runs on: ulx3s-85f" in run.out
    as_json = systolith("explain", model, "-t", "icebreaker", "--json")
    compiled = systolith("compile", model, "-t", "icebreaker", "-o", tmp_path / "o.sth")
    assert as_json.code == compiled.code == 4
    assert "ulx3s-85f" in as_json.json["other_targets"] and not as_json.json["runs"]
    assert all(block["reason"] in compiled.err for block in as_json.json["blocks"])


def test_needs_and_worst_layer_of_a_model_that_does_not_fit(systolith):
    run = systolith("explain", MOBILENET, "-t", "icebreaker")
    assert "bytes needed, 131,072 there are" in run.out
    assert "'pointwise13' with 68,608 bytes of weights" in run.out


def test_a_float_model(systolith, tmp_path):
    with np.load(LENET / "digits.npz") as digits:
        typical = (digits["images"][:50] / np.float32(255)).astype(np.float32)[:, None]
    write_array(tmp_path / "typical.npy", typical)
    arguments = "explain", LENET / "lenet_float.onnx", "-t", "ulx3s-85f"
    assert systolith(*arguments).code == 2
    run = systolith(*arguments, "--calibrate", tmp_path / "typical.npy")
    assert run.code == 0 and "fused into" in run.out


@pytest.mark.parametrize("name", ["no.onnx", "no.tflite"])
def test_a_missing_model(systolith, tmp_path, name):
    run = systolith("explain", tmp_path / name, "-t", "ulx3s-85f")
    assert run.code == 2 and name in run.err and run.out == "" and run.err.count("\n") == 1


def test_names_are_whole_where_no_terminal_limits_them(systolith):
    run = systolith("explain", RESNET, "-t", "ulx3s-85f")
    assert "model/batch_normalization_2/FusedBatchNormV3" in run.out
    assert "fused into #3" in run.out


def onnx_file(kind, seed):
    found = onnx_operators.random_operator(kind, seed)
    return found and found[1].SerializeToString()


def tflite_file(kind, seed):
    found = tflite_operators.random_operator(kind, seed)
    return found and found[0].finish(*found[1:])


@pytest.mark.parametrize("suffix, make, kind", [
    *((".onnx", onnx_file, kind) for kind in onnx_operators.KINDS),
    *((".tflite", tflite_file, kind) for kind in tflite_operators.KINDS)])
def test_every_operator(systolith, tmp_path, suffix, make, kind):
    """Costs are told, or what blocks and what unblocks it."""
    contents = filter(None, (make(kind, seed) for seed in range(5)))
    for number, content in enumerate(itertools.islice(contents, 2)):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        run = systolith("explain", path, "-t", "ulx3s-85f")
        assert run.code in (0, 2, 4) and "systolith:" not in run.err
        if run.code == 0:
            assert "cycles an image" in run.out and "nobody reads" not in run.out
        else:
            assert "Does not run on ulx3s-85f" in run.out
            assert run.out.count("To unblock: ") == run.out.count("blocked  ") >= 1
