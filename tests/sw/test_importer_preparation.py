"""Arithmetic on a model's own float input: the host does it before it quantises."""

import numpy as np
import pytest

from systolith.boards.targets import find_config
from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.explain import Place, explain_model
from systolith.sw.program import Program
from tests.onnx_models import Model, quantized
from tests.sw.test_importer_errors import refused
from tests.sw.test_importer_operators import check

MEAN, DEVIATION = (np.array(n, np.float32).reshape(1, 3, 1, 1) for n in (
    (0.485, -0.456, 0.406), (0.229, 0.5, 0.225)))


def normalised(m, x="x"):
    return m.node("Div", m.node("Sub", x, m.constant(MEAN)), m.constant(DEVIATION))


def test_images_normalised_by_the_model():
    """The mean of each channel, its deviation: no operation of the device."""
    m = Model((3, 6, 5))
    graph = check(m, m.finish(m.conv(normalised(m), 4, 3, (3, 3))))
    assert [op.kind for op in graph.ops] == ["Conv"]
    steps = graph.inputs[0].steps
    assert [step.kind for step in steps] == ["subtract", "divide", "quantize"]
    assert np.shape(steps[0].attributes["operand"]) == (3, 1, 1)


@pytest.mark.parametrize("begin", [
    lambda m: m.node("Sub", m.constant(0.3), "x"),
    lambda m: m.node("Tanh", m.node("Sub", "x", m.constant([[[0.1]], [[0.2]], [[-0.1]]]))),
    lambda m: m.node("Softplus", "x"),
    lambda m: m.batch_norm(m.node("Neg", "x"), 3),
    lambda m: m.node("Transpose", normalised(m, m.node("Transpose", "x", perm=[0, 1, 3, 2])),
                     perm=[0, 1, 3, 2]),
    lambda m: m.node("Slice", normalised(m), m.integers(1), m.integers(4), m.integers(2))],
    ids=["from a constant", "function", "function alone", "norm", "transposed", "part"])
@pytest.mark.parametrize("prepare", [True, False])
def test_other_beginnings(begin, prepare):
    m = Model((3, 6, 5))
    check(m, m.finish(m.conv(begin(m), 4, 3, (3, 3))), prepare=prepare)


def test_sequences_and_vectors():
    m = Model((4, 12))
    check(m, m.finish(m.conv(m.node("Sub", "x", m.constant(np.arange(12) / 10)), 5, 4, (3,))))
    m = Model((7,))
    check(m, m.finish(m.gemm(m.node("Sub", "x", m.constant(np.arange(7) / 5)), 5, 7)))


def test_steps_are_kept_in_the_file():
    m = Model((3, 6, 5))
    graph = check(m, m.finish(m.conv(normalised(m), 4, 3, (3, 3))))
    program = compile_graph(graph, Config())
    again = Program.from_bytes(program.to_bytes())
    assert again.inputs[0].port.steps == program.inputs[0].port.steps


def test_two_preparations_of_one_input_are_refused():
    m = Model((3, 6, 6))
    a = m.fake_quantize(m.node("Sub", "x", m.constant(0.1)), np.float32(0.02), 3)
    b = m.fake_quantize("x", np.float32(0.02), 3)
    a, b = (m.node("MaxPool", x, kernel_shape=[2, 2]) for x in (a, b))
    refused(m.finish(m.fake_quantize(m.node("Concat", a, b, axis=1), np.float32(0.02), 3)),
            "read as it is and computed with before")


def test_padding_before_is_refused():
    m = Model((3, 6, 6))
    x = m.node("Pad", "x", m.integers(0, 0, 1, 1, 0, 0, 1, 1))
    x = m.fake_quantize(normalised(m, x), np.float32(0.02), 3)
    refused(m.finish(m.fake_quantize(m.node("MaxPool", x, kernel_shape=[2, 2]),
                                     np.float32(0.02), 3)), "zeros of the Pad")


def test_explained(tmp_path):
    m = Model((3, 6, 5))
    proto = quantized(m.finish(m.conv(normalised(m), 4, 3, (3, 3))), m.data())
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    nodes = {node.op: node for node in explain_model(path, find_config("ulx3s-85f")).nodes}
    assert nodes["Sub"].where is nodes["Div"].where is Place.HOST
    assert "before it is quantised" in nodes["Sub"].why
