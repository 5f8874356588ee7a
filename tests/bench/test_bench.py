"""The benchmarks' networks: published sizes, results neither constant nor all saturated."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith.sim import golden
from systolith.sw.passes.verify import verify

BENCH = Path(__file__).parents[2] / "bench"
MACS = {
    "resnet8": 12_501_632, "dscnn": 2_656_768, "mobilenetv1_025": 7_489_664,
    "autoencoder": 264_192, "lenet": 416_520, "conv3x3": 2_359_296,
}


@pytest.fixture(autouse=True)
def bench_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in ("conv", "networks", "predict"):
        sys.modules.pop(name, None)


def macs(graph):
    return sum(graph.macs(op) for op in graph.ops)


@pytest.mark.parametrize("name", MACS)
def test_network(name):
    networks = importlib.import_module("networks")
    assert set(networks.NETWORKS) == set(MACS)
    graph = networks.NETWORKS[name]()
    verify(graph)
    assert macs(graph) == MACS[name]
    x = np.random.default_rng(2).integers(-128, 128, (2, *graph.inputs[0].shape)).astype(np.int8)
    maps = golden.run(graph, {graph.inputs[0].tensor: x})
    for op in graph.ops:
        y = maps[op.output]
        assert y.std() > 5, op.name
        assert np.isin(y, (-128, 127)).mean() < 0.7, op.name
    np.testing.assert_array_equal(
        networks.NETWORKS[name]().ops[0].weights, graph.ops[0].weights)


def test_batched_lenet_is_lenet():
    networks = importlib.import_module("networks")
    batch = 4
    assert batch * (MACS["lenet"] - macs(networks.lenet_features())) == macs(
        networks.lenet_dense(batch))
