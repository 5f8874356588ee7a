"""The benchmarks' networks: published sizes, results neither constant nor all saturated."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith.boards.targets import find_config
from systolith.examples import synthetic
from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sw.compiler import compile_graph
from systolith.sw.passes.verify import verify

BENCH = Path(__file__).parents[2] / "bench"
MACS = {
    "resnet8": 12_501_632, "dscnn": 2_656_768, "mobilenetv1-0.25-96": 7_489_664,
    "autoencoder": 264_192, "lenet": 416_520, "conv3x3-32-16x16": 2_359_296,
}


@pytest.fixture(autouse=True)
def bench_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in ("compile_time", "conv", "predict"):
        sys.modules.pop(name, None)


def macs(graph):
    return sum(graph.macs(op) for op in graph.ops)


@pytest.mark.parametrize("name", MACS)
def test_network(name):
    assert set(synthetic.NETWORKS) == set(MACS)
    graph = synthetic.NETWORKS[name]()
    verify(graph)
    assert macs(graph) == MACS[name]
    x = np.random.default_rng(2).integers(-128, 128, (2, *graph.inputs[0].shape)).astype(np.int8)
    maps = golden.run(graph, {graph.inputs[0].tensor: x})
    for op in graph.ops:
        y = maps[op.output]
        assert y.std() > 5, op.name
        assert np.isin(y, (-128, 127)).mean() < 0.7, op.name
    np.testing.assert_array_equal(
        synthetic.NETWORKS[name]().ops[0].weights, graph.ops[0].weights)


def test_batched_lenet_is_lenet():
    batch = 4
    assert batch * (MACS["lenet"] - macs(synthetic.lenet_features())) == macs(
        synthetic.lenet_dense(batch))


CONFIG = Config(rows=8, columns=4, post_lanes=4, banks=2, bank_words=256, accumulator_depth=64)


def test_compiling_grows_with_the_layers():
    """Three times the layers, about three times the memory; times are for the script to tell."""
    compile_time = importlib.import_module("compile_time")
    short, long = compile_time.chains(find_config("ulx3s-85f"), (20, 60))
    assert (short.name, long.name) == ("20 layers", "60 layers")
    assert min(short.seconds, long.seconds) > 0
    assert long.mebibytes < 5 * short.mebibytes


def test_prediction_is_the_programs():
    predict = importlib.import_module("predict")
    graph = synthetic.conv3x3(8, 6)
    program = compile_graph(graph, CONFIG)
    met = predict.predict(graph, CONFIG, program.predicted_cycles)
    assert not met.missed and not met.notes
    assert met.cycles == program.predicted_cycles
    assert met.peak_share == 8 * 8 * 9 * 36 / 32 / met.cycles
    missed = predict.predict(graph, CONFIG, met.cycles - 1)
    assert missed.missed and "lost in" in missed.notes
    assert "MISSED" in predict.network_table([missed], layers=True)


def test_what_does_not_fit_is_reported():
    predict = importlib.import_module("predict")
    report = predict.predict(synthetic.resnet8(), CONFIG)
    assert report.missed and "does not fit" in report.notes
    assert report.macs == MACS["resnet8"]


def test_layer_on_a_device():
    conv = importlib.import_module("conv")
    measured = conv.measure_layer(synthetic.conv3x3(8, 6), CONFIG, "machine:")
    assert measured.equal and measured.ideal == 8 * 8 * 9 * 36 // 32
    assert measured.measured == measured.predicted > measured.busy > measured.ideal
    assert conv.table([measured]).count("equal") == 1
