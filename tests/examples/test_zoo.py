"""Every network of the zoo compiles, and every model of the hardware gives the same answers."""

from functools import cache

import numpy as np
import pytest

from systolith.boards.targets import find_config
from systolith.examples.evaluate import Answers, Report, RtlRun, evaluate, random_inputs, table
from systolith.examples.reference import reference_outputs
from systolith.examples.zoo import ZOO, Entry, accuracy, find_entry, normalised_mean_error
from systolith.sim.batch import run_batch
from systolith.sim.golden import run_model
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import DataError
from systolith.sw.importer.load import load_model


@cache
def compiled(name):
    graph = load_model(ZOO[name].path)
    return graph, compile_graph(graph, find_config("ulx3s-85f"))


@pytest.mark.parametrize("name", ZOO)
def test_file_is_small_and_names_no_machine(name):
    content = ZOO[name].path.read_bytes()
    assert len(content) <= 300 * 1024
    assert b"/home/" not in content and b"site-packages" not in content
    assert (ZOO[name].path.parent / "README.md").exists()


@pytest.mark.parametrize("name", ZOO)
def test_instruction_level_model_is_golden(name):
    graph, program = compiled(name)
    x = random_inputs(graph, 2)
    found, = run_batch(program, x)
    np.testing.assert_array_equal(found, run_model(graph, x)[0])
    assert found.std() > 0


@pytest.mark.parametrize("name", ZOO)
def test_reference_runtime_is_a_step_away_at_most(name):
    graph, _ = compiled(name)
    x = random_inputs(graph, 2)
    found, reference = run_model(graph, x)[0], reference_outputs(ZOO[name].path, x)
    exact = ZOO[name].suffix == ".tflite"
    step = 1 if exact else graph.tensors[graph.outputs[0].tensor].scale
    steps = np.rint((found.astype(float) - reference) / step)
    assert found.shape == reference.shape and np.abs(steps).max() <= (0 if exact else 1)


@pytest.mark.parametrize("name", ["mnist1d", "spoken_digits"])
def test_one_dimensional_layers_keep_the_array_busy(name):
    graph, program = compiled(name)
    macs = sum(graph.macs(op) for op in graph.ops)
    assert macs / program.config.multipliers / program.predicted_cycles > 0.8


def test_random_inputs_are_all_levels_of_the_model():
    graph, _ = compiled("mnist1d")
    tensor = graph.tensors[graph.inputs[0].tensor]
    x = random_inputs(graph, 100)
    assert x.shape == (100, 1, 40) and x.dtype == np.float32
    assert len(np.unique(np.rint(x / tensor.scale))) == 256
    graph, _ = compiled("resnet8")
    assert random_inputs(graph, 2).dtype == np.int8


def test_report_without_data_tells_cycles():
    report = evaluate(ZOO["mnist1d"])
    assert report.costs["ulx3s-85f"].cycles < report.costs["icebreaker"].cycles
    assert report.answers.reference is None and report.rtl is None and not report.failures()
    assert "mnist1d" in table([report]) and "not run" in table([report])


def test_a_network_that_does_not_fit_is_no_failure():
    report = evaluate(ZOO["autoencoder"], rtl=1, target="icebreaker")
    assert report.answers is report.rtl is report.costs["icebreaker"] is None
    assert report.costs["ulx3s-85f"].cycles > 0 and not report.failures()
    assert "autoencoder         does not fit" in table([report])


def test_report_with_data(tmp_path):
    """Labels taken from the network itself: it is always right, and all wrong with others."""
    graph, _ = compiled("mnist1d")
    x = random_inputs(graph, 12)
    labels = run_model(graph, x)[0].argmax(axis=1).astype(np.uint8)
    for y, right in ((labels, 1), ((labels + 1) % 10, 0)):
        np.savez(tmp_path / "mnist1d.npz", train_x=x[:0, 0], train_y=y[:0], test_x=x[:, 0],
                 test_y=y)
        report = evaluate(ZOO["mnist1d"], tmp_path)
        assert report.answers.samples == 12 and report.answers.accelerator == right
        assert bool(report.failures()) is (right == 0)
        assert f"{right:.2%}" in table([report])


def report(answers=None, rtl=None):
    fields = {"samples": 1, "float_reference": None, "reference": None, "accelerator": None,
              "outputs": 10, "one_step": 0, "further": 0, "equal": True}
    return Report(name="mnist1d", file_bytes=1, macs=1, compile_seconds=0.1,
                  costs={"ulx3s-85f": None, "icebreaker": None},
                  answers=Answers(**fields | (answers or {})), rtl=rtl)


@pytest.mark.parametrize("answers,rtl,failure", [
    ({}, RtlRun(1, True, True), None),
    ({"equal": False}, None, "instruction-level model differs"),
    ({"accelerator": 0.5}, None, "accuracy 50.00% misses 90.00%"),
    ({}, RtlRun(1, False, True), "RTL differs"),
    ({}, RtlRun(1, True, False), "other cycles"),
])
def test_what_counts_as_a_failure(answers, rtl, failure):
    measured = report(answers, rtl)
    assert [failure in text for text in measured.failures()] == ([True] if failure else [])
    assert "does not fit" in table([measured])


def test_accuracy():
    outputs = np.array([[1, 5, 2], [9, 0, 0], [0, 1, 7]])
    assert accuracy(outputs, np.array([1, 0, 0], np.uint8)) == pytest.approx(2 / 3)


def test_normalised_mean_error():
    points = np.zeros((2, 68, 2), np.float32)
    points[:, 45] = [(40, 0), (0, 20)]           # eye corners 40 and 20 pixels apart
    found = points.copy()
    found[:, :, 0] += 3
    found[:, :, 1] += 4                          # every point 5 pixels off
    assert normalised_mean_error(found.reshape(2, 136), points) == pytest.approx(
        (5 / 40 + 5 / 20) / 2)


def test_an_error_must_stay_below_its_bar():
    metric = ZOO["keypoints"].metric
    assert metric.met(0.06) and not metric.met(0.061)
    assert ZOO["faces"].metric.met(0.95) and not ZOO["faces"].metric.met(0.949)


def test_unknown_names_and_data(tmp_path):
    with pytest.raises(DataError, match="no network 'alexnet' in the zoo; there are: lenet, "):
        find_entry("alexnet")
    entry: Entry = ZOO["faces"]
    with pytest.raises(DataError, match=r"orl_faces.npz: No such file"):
        entry.dataset(tmp_path)
    np.savez(tmp_path / entry.data, something=np.zeros(3))
    with pytest.raises(DataError, match="not the archive it should be.*images_64x64"):
        entry.dataset(tmp_path)
    (tmp_path / entry.data).write_bytes(b"no archive")
    with pytest.raises(DataError, match="not the archive it should be"):
        entry.dataset(tmp_path)
    assert ZOO["autoencoder"].dataset(tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_rtl_is_golden_and_takes_the_cycles_predicted(name):
    measured = evaluate(ZOO[name], rtl=1)
    assert measured.rtl == RtlRun(1, True, True) and not measured.failures()
