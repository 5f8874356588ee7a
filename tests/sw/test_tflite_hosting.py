"""Operators that the host runs inside TFLite models, against LiteRT's reference kernels."""

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.sw.ir import HostOp, Mul, Table
from systolith.sw.partition import compile_network
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program
from tests.tflite_check import check
from tests.tflite_hosted import activation, block, gate, product, random_model
from tests.tflite_models import NONE, RELU, RELU6, RELU_N1_TO_1, Model
from tests.tflite_networks import convolve

UNARY = ["LOGISTIC", "TANH", "HARD_SWISH"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", UNARY)
def test_activation_inside(kind, seed):
    m = Model(np.random.default_rng(seed))
    x = m.map((5, 4, 6))
    y = convolve(m, activation(m, kind, convolve(m, x, 5)), 4)
    graph = check(m, [x], [y], machine=True)
    assert [type(op) for op in graph.ops if isinstance(op, HostOp)] == [Table]


@pytest.mark.parametrize("kind", UNARY)
def test_activation_of_the_input_and_of_padding(kind):
    m = Model(np.random.default_rng(1))
    x, p = m.map((5, 4, 3), scale=0.05), m.map((7, 7, 3), scale=0.05)
    m.tensors[p].zero_point = m.tensors[x].zero_point
    m.op("PAD", [x, m.constant(np.array([[0, 0], [1, 1], [1, 2], [0, 0]], np.int32))], p)
    check(m, [x], [convolve(m, activation(m, kind, p), 4)], machine=True)
    m = Model(np.random.default_rng(2))
    x = m.map((5, 4, 3))
    check(m, [x], [convolve(m, activation(m, kind, x), 4)], machine=True)


@pytest.mark.parametrize("seed", range(4))
def test_softmax_inside(seed):
    m = Model(np.random.default_rng(seed))
    x = m.map((5, 4, 6))
    z = m.map((5, 4, 5), scale=1 / 256, zero_point=-128)
    m.op("SOFTMAX", [convolve(m, x, 5)], z, "SoftmaxOptions", Beta=1.0)
    check(m, [x], [convolve(m, z, 4)], machine=True)


def test_one_level_inside_and_at_the_end():
    """What is both read inside and an output is computed once."""
    m = Model(np.random.default_rng(3))
    x = m.map((5, 4, 3))
    z = activation(m, "TANH", convolve(m, x, 5))
    graph = check(m, [x], [z, convolve(m, z, 4)], machine=True)
    assert sum(isinstance(op, HostOp) for op in graph.ops) == 1


def test_uint8_behind_an_activation():
    m = Model(np.random.default_rng(4))
    x = m.map((5, 4, 3))
    z = activation(m, "LOGISTIC", convolve(m, x, 5))
    y = m.tensor(m.tensors[z].shape, "uint8", m.tensors[z].scale[0], 0)
    m.op("QUANTIZE", [z], y)
    check(m, [x], [y], machine=True)


SHAPES = {
    "same": ((5, 4, 6), (5, 4, 6)), "channels": ((5, 4, 6), (1, 1, 6)),
    "channels first": ((1, 1, 6), (5, 4, 6)), "pixels": ((5, 4, 6), (5, 4, 1)),
    "rows": ((5, 4, 6), (5, 1, 6)), "outer": ((5, 1, 6), (1, 4, 1)), "flat": ((5, 4, 6), (6,)),
    "vectors": ((6,), (6,)), "number": ((5, 4, 6), (1, 1, 1)), "sequence": ((7, 5), (1, 5)),
}


@pytest.mark.parametrize("fused", [NONE, RELU, RELU6, RELU_N1_TO_1])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_product(shapes, fused):
    m = Model(np.random.default_rng(fused))
    a, b = (m.map(shape) for shape in shapes)
    y = product(m, a, b, fused)
    graph = check(m, [a, b], [y], machine=fused == NONE)
    assert [type(op) for op in graph.ops] == [Mul]


@pytest.mark.parametrize("factor", [1e-9, 2 ** -16, 2 ** -8, 0.5, 1.0, 1.5, 300, 30_000])
def test_factors_of_products(factor):
    """All pairs of levels, at factors that shift left and right, and those that leave nothing."""
    m = Model(np.random.default_rng(5))
    a, b = m.map((256, 1, 1), scale=0.5), m.map((1, 256, 1), scale=0.25)
    y = m.map((256, 256, 1), scale=0.125 / factor)
    m.op("MUL", [a, b], y, "MulOptions")
    levels = np.arange(-128, 128, dtype=np.int8)
    check(m, [a, b], [y], [levels.reshape(1, 256, 1, 1), levels.reshape(1, 1, 256, 1)])


def test_square():
    m = Model(np.random.default_rng(6))
    x = m.map((5, 4, 3))
    z = convolve(m, x, 5)
    check(m, [x], [convolve(m, product(m, z, z), 2)], machine=True)


@pytest.mark.parametrize("seed", range(8))
def test_squeeze_and_excite(seed):
    m = Model(np.random.default_rng(seed))
    x = m.map((6, 5, 4))
    check(m, [x], [convolve(m, gate(m, convolve(m, x, 8), fully_connected=bool(seed % 2)), 4)],
          machine=True)


@pytest.mark.parametrize("seed", range(4))
def test_mobile_net_v3(seed):
    """Two inverted residuals with hard swish, squeeze-and-excite and hard sigmoid by ReLU6."""
    m = Model(np.random.default_rng(seed))
    x = m.map((12, 12, 3))
    y = activation(m, "HARD_SWISH", convolve(m, x, 8))
    for _ in range(2):
        y = block(m, y)
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    graph = check(*random_model(seed), machine=True)
    network = compile_network(graph, Config())
    hosted = [op.name for op in graph.ops if isinstance(op, HostOp)]
    assert isinstance(network, Pipeline if hosted else Program)
    assert [layer.name for layer in network.layers if "on the host" in layer.op] == hosted
