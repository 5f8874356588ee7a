"""Single ONNX operators with random parameters: as onnxruntime computes them, or refused."""

import numpy as np
import onnx
import pytest

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.machine_device import MachineDevice
from systolith.sw.device import Device
from systolith.sw.errors import ModelError
from systolith.sw.importer import import_onnx
from systolith.sw.importer.reader import HANDLERS
from systolith.sw.partition import compile_network
from tests.onnx_models import reference
from tests.onnx_operators import KINDS, random_operator

SEEDS = 16
#: Share of elements that may differ by 1: ties, which are rounded to even by onnxruntime and away
#: from zero here, and where a bias is rounded to the scale of the sums; of averages, which tie
#: often, and of others.
TIES, RARELY = 0.5, 0.16


def made(kind, seed):
    """Return a model, its inputs and onnxruntime's outputs; None if there is none it would run."""
    found = random_operator(kind, seed)
    if found is None:
        return None
    m, proto = found
    feed = m.data()
    return m, proto, feed, [reference(proto, feed, optimised) for optimised in (False, True)]


def check(m, graph, feed, expected):
    """Compare all outputs with onnxruntime's, plain and optimised; return the golden model's."""
    ours = golden.run_model(graph, feed)
    for port, got, plain, optimised in zip(graph.outputs, ours, *expected, strict=True):
        assert got.shape == plain.shape and got.dtype == plain.dtype
        if port.steps and port.steps[-1].kind not in ("quantize", "dequantize"):
            np.testing.assert_allclose(got, plain, rtol=1e-5, atol=1e-6)
            continue
        step = port.steps[-1].attributes.get("scale", graph.tensors[port.tensor].scale) if (
            got.dtype == np.float32) else 1
        off, later = (np.rint((got.astype(np.float64) - theirs) / step)
                      for theirs in (plain, optimised))
        assert abs(off).max(initial=0) <= 1 and abs(later).max(initial=0) <= 1
        share = np.mean(off != 0)
        assert share <= (0 if m.exact else max(TIES if m.ties else RARELY, 2 / off.size)), share
    return ours


@pytest.mark.parametrize("kind", KINDS)
def test_operator(kind):
    ran = 0
    for seed in range(SEEDS):
        found = made(kind, seed)
        if found is None:
            continue
        m, proto, feed, expected = found
        try:
            graph = import_onnx(proto, "m.onnx")
        except ModelError as error:
            assert str(error).startswith("m.onnx: a node cannot be mapped: node 'node_")
            assert "; " in str(error)
            continue
        ours = check(m, graph, feed, expected)
        ran += 1
        if seed % 8:
            continue
        config = Config()
        with Device(MachineDevice(config)) as device:
            device.load(compile_network(graph, config))
            for got, golden_ in zip(device.run(*(feed[port.name] for port in graph.inputs)).outputs,
                                    ours, strict=True):
                np.testing.assert_array_equal(got, golden_)
    assert ran >= SEEDS // 4


def test_every_operator_is_tried():
    tried = set()
    for kind in KINDS:
        for seed in range(4):
            found = made(kind, seed)
            tried |= {node.op_type for node in found[1].graph.node} if found else set()
    assert tried >= set(HANDLERS)


@pytest.mark.parametrize("kind", ["Clip", "Pad", "Resize", "Split", "Conv", "Softmax"])
def test_newest_opset(kind):
    """The newest that the installed onnx knows, which onnxruntime need not run."""
    for seed in range(40):
        found = made(kind, seed)
        if found and found[0].opset >= 18:
            break
    m, proto, feed, _ = found
    expected = golden.run_model(import_onnx(proto, "m.onnx"), feed)
    proto.opset_import[0].version = onnx.defs.onnx_opset_version()
    for got, array in zip(golden.run_model(import_onnx(proto, "m.onnx"), feed), expected,
                          strict=True):
        np.testing.assert_array_equal(got, array)
