"""The golden model against nested loops over Python integers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.sim import golden
from systolith.sw.errors import DataError
from systolith.sw.ir import Add, Conv, Graph, Pool, Port, Tensor
from systolith.sw.numerics import requantize
from systolith.sw.passes.verify import verify
from tests.networks import random_graph, random_inputs, requant

SEEDS = st.integers(0, 2**32 - 1)


def window(op, oy, ox, shape, kernel, dilation=(1, 1)):
    """Yield (ky, kx, y, x) for the positions of a window that lie inside the map."""
    for ky, kx in itertools.product(*map(range, kernel)):
        y = oy * op.stride[0] + ky * dilation[0] - op.pads[0]
        x = ox * op.stride[1] + kx * dilation[1] - op.pads[1]
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            yield ky, kx, y, x


def rescale(total, factors, k):
    return int(requantize(total, factors.multiplier[k], factors.left[k], factors.right[k]))


def slow_conv(op, x, source, output, position):
    oy, ox, channel = position
    depth = op.weights.shape[3]
    base = channel // (len(op.weights) // op.groups) * depth
    total = int(op.bias[channel])
    for ky, kx, y, xx in window(op, oy, ox, source.shape, op.weights.shape[1:3], op.dilation):
        for i in range(depth):
            total += (int(x[y, xx, base + i]) - source.zero_point) * int(
                op.weights[channel, ky, kx, i])
    return rescale(total, op.requant, channel) + output.zero_point


def slow_pool(op, x, source, output, position):
    oy, ox, channel = position
    values = [int(x[y, xx, channel])
              for _, _, y, xx in window(op, oy, ox, source.shape, op.kernel)]
    if op.mode == "max":
        return max(values)
    if op.requant is not None:
        total = sum(value - source.zero_point for value in values)
        return rescale(total, op.requant, 0) + output.zero_point
    exact = sum(values) / len(values)  # binary floats hold these sums and ties exactly
    return int(math.copysign(math.floor(abs(exact) + 0.5), exact))


def slow_op(graph, op, maps):
    """Return one operation's result for a single image, int8[h, w, c]."""
    output = graph.tensors[op.output]
    source = graph.tensors[op.x]
    result = np.empty(output.shape, np.int64)
    for position in np.ndindex(*output.shape):
        match op:
            case Conv():
                value = slow_conv(op, maps[0], source, output, position)
            case Pool():
                value = slow_pool(op, maps[0], source, output, position)
            case Add():
                terms = [rescale((int(x[position]) - graph.tensors[name].zero_point) << 20,
                                 op.requant, k)
                         for k, (x, name) in enumerate(zip(maps, op.inputs, strict=True))]
                value = rescale(sum(terms), op.requant, 2) + output.zero_point
        result[position] = min(max(value, op.low), op.high)
    return result


@settings(max_examples=100)
@given(SEEDS)
def test_every_layer_equals_nested_loops(seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, layers=4, size=7, channels=6)
    verify(graph)
    values = golden.run(graph, random_inputs(graph, rng))
    for op in graph.ops:
        for image in range(2):
            maps = [values[name][image] for name in op.inputs]
            assert np.array_equal(values[op.output][image], slow_op(graph, op, maps)), op


@settings(max_examples=20)
@given(SEEDS)
def test_a_batch_is_its_images_one_by_one(seed):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    inputs = random_inputs(graph, rng, 5)
    output = graph.outputs[0].tensor
    together = golden.run(graph, inputs)[output]
    alone = [golden.run(graph, {name: x[i:i + 1] for name, x in inputs.items()})[output]
             for i in range(5)]
    assert np.array_equal(together, np.concatenate(alone))


def test_random_networks_use_the_range():
    levels = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, layers=2, kinds=("conv", "depthwise", "add"))
        values = golden.run(graph, random_inputs(graph, rng, 8))
        levels += [len(np.unique(values[op.output])) for op in graph.ops
                   if values[op.output].size > 500]
    assert len(levels) > 20 and np.median(levels) > 100


def test_large_convolution_is_exact_beyond_float32():
    """65,536 products of nearly the largest size: the odd one must survive in a sum of 2**30."""
    source = Tensor(name="x", shape=(1, 1, 65536), scale=1.0, zero_point=0)
    weights = np.full((1, 1, 1, 65536), -128, np.int8)
    x = weights.copy()
    weights[..., 0] = x[..., 0] = -127
    op = Conv(name="c", kind="Conv", inputs=("x",), output="y", weights=weights,
              bias=np.zeros(1, np.int32), requant=requant(1e-7))
    assert golden.accumulate(op, x, source).item() == 65535 * 128**2 + 127**2


def test_average_rounds_ties_away_from_zero():
    tensors = {name: Tensor(name=name, shape=shape, scale=1.0, zero_point=0)
               for name, shape in (("x", (1, 4, 1)), ("y", (1, 2, 1)))}
    op = Pool(name="p", kind="AveragePool", inputs=("x",), output="y", mode="average",
              kernel=(1, 2), stride=(1, 2))
    graph = Graph(name="g", tensors=tensors, ops=[op], inputs=[], outputs=[])
    x = np.array([1, 2, -1, -2], np.int8).reshape(1, 1, 4, 1)
    assert golden.run(graph, {"x": x})["y"].ravel().tolist() == [2, -2]


def test_missing_input_is_named():
    graph = random_graph(np.random.default_rng(0))
    with pytest.raises(DataError, match="no data for input 'x'"):
        golden.run_model(graph, {"image": np.zeros(1)})


def test_model_layout_goes_in_and_out():
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kinds=("pointwise",), one_dimensional=False)
    inputs = random_inputs(graph, rng)
    port: Port = graph.inputs[0]
    result, = golden.run_model(graph, inputs[port.tensor].transpose(0, 3, 1, 2))
    expected = golden.run(graph, inputs)[graph.outputs[0].tensor]
    assert np.array_equal(result, expected.transpose(0, 3, 1, 2))
