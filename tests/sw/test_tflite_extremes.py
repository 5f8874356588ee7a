"""TFLite operators of maxima, bounds, smooth activations, bilinear resizing and repeats."""

import numpy as np
import pytest

from systolith.sw.ir import Bilinear, Conv, Extreme, HostOp, Mul, Pool
from tests.tflite_check import check, inputs, spread, window
from tests.tflite_models import SAME, VALID, Model
from tests.tflite_networks import convolve, ints


def hosted(graph):
    return [type(op) for op in graph.ops if isinstance(op, HostOp)]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [[1, 2], [-2], [1]])
def test_reduce_max(axes, keep):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 7))
    reduced = {axis % 4 for axis in axes}
    shape = [1 if i in reduced else n for i, n in enumerate((6, 5, 7), 1)
             if keep or i not in reduced]
    y = m.map(shape, like=x)
    m.op("REDUCE_MAX", [x, ints(m, *axes)], y, "ReducerOptions", KeepDims=keep)
    assert [type(op) for op in check(m, [x], [y], machine=True).ops] == [Pool]


@pytest.mark.parametrize("axes, shape", [([3], (6, 5, 7)), ([-1], (6, 9)), ([1, 2, 3], (4, 5, 3)),
                                         ([2, 3], (4, 5, 3))])
@pytest.mark.parametrize("seed", range(3))
def test_mean_over_channels(seed, axes, shape):
    m = Model(np.random.default_rng(seed))
    x = m.map(shape)
    reduced = {axis % (len(shape) + 1) for axis in axes}
    y = m.map([1 if i in reduced else n for i, n in enumerate(shape, 1)],
              scale=m.tensors[x].scale[0] * float(m.rng.uniform(0.3, 1)))
    m.op("MEAN", [x, ints(m, *axes)], y, "ReducerOptions", KeepDims=True)
    arrays = inputs(m, [x])
    arrays[0][2:] = np.sort(arrays[0][2:], axis=0)
    assert [type(op) for op in check(m, [x], [y], arrays, machine=True).ops] == [Conv]


@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("shape", [(6, 5, 7), (1, 1, 7), (7,)])
def test_extremes_of_two_maps(kind, shape):
    m = Model(np.random.default_rng(0))
    a = m.map((6, 5, 7))
    b, y = m.map(shape, like=a), m.map((6, 5, 7), like=a)
    m.op(kind, [a, b], y, "MaximumMinimumOptions")
    assert hosted(check(m, [a, b], [convolve(m, y, 4)], machine=True)) == [Extreme]


@pytest.mark.parametrize("kind", ["MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("levels, host", [([20], False), ([-7] * 4, False), ([3, 9, -90, 0], True)])
def test_extremes_with_a_constant(kind, levels, host):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 4))
    t = m.tensors[x]
    constant = m.constant(np.array(levels, np.int8), scale=t.scale, zero_point=t.zero_point[0])
    y = m.map((6, 5, 4), like=x)
    m.op(kind, [convolved(m, x), constant], y, "MaximumMinimumOptions")
    assert bool(hosted(check(m, [x], [y], machine=True))) is host


def convolved(m, x):
    """Return a convolution of a map on its own scale."""
    y = m.map(m.tensors[x].shape[1:], like=x)
    return m.op("QUANTIZE", [convolve(m, x, m.tensors[x].shape[3])], y)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("approximate", [False, True])
def test_gelu(approximate, seed):
    m = Model(np.random.default_rng(seed))
    scale = float(np.exp(m.rng.uniform(-5, -2)))
    x = m.map((2, 128, 1), scale=scale)
    y = m.map((2, 128, 1), scale=scale * float(m.rng.uniform(0.5, 1)))
    m.op("GELU", [x], y, "GeluOptions", Approximate=approximate)
    levels = np.arange(-128, 128, dtype=np.int8).reshape(1, 2, 128, 1)
    check(m, [x], [convolve(m, y, 2), y], [levels], machine=seed == 0)


@pytest.mark.parametrize("corners, half", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [(10, 8), (5, 12), (7, 9), (3, 2), (1, 1), (16, 5)])
def test_resize_bilinear(size, corners, half):
    m = Model(np.random.default_rng(0))
    x = m.map((5, 4, 6))
    y = m.map((*size, 6), like=x)
    m.op("RESIZE_BILINEAR", [x, ints(m, *size)], y, "ResizeBilinearOptions",
         AlignCorners=corners, HalfPixelCenters=half)
    assert hosted(check(m, [x], [convolve(m, y, 3)], machine=True)) == [Bilinear]


def test_product_that_no_weight_gives():
    """Constants beyond int8 for which no multiplier rounds right: the host multiplies."""
    m = Model(np.random.default_rng(0))
    x = m.tensor((1, 6, 5, 4), scale=1.0)
    y = m.map((6, 5, 4), scale=4096.0)     # ties everywhere, rounded twice
    constant = m.constant(np.int8([127, -1, 3, 65]), scale=1.0, zero_point=-128)
    m.op("MUL", [x, constant], y, "MulOptions")
    assert hosted(check(m, [x], [y], machine=True)) == [Mul]


@pytest.mark.parametrize("axis", [1, 2])
def test_upsampling_by_repeats(axis):
    """EXPAND_DIMS, TILE and RESHAPE, as Keras spells UpSampling2D."""
    m = Model(np.random.default_rng(0))
    x = m.map((4, 5, 3))
    wide, many = [4, 5, 3], [1, 1, 1, 1, 1]
    wide.insert(axis, 1)
    many[axis + 1] = 2
    shape = [4, 5, 3]
    shape[axis - 1] *= 2
    a = m.map(wide, like=x)
    m.op("EXPAND_DIMS", [x, m.constant(np.int32(axis + 1))], a, "ExpandDimsOptions")
    wide[axis] = 2
    b, y = m.map(wide, like=x), m.map(shape, like=x)
    m.op("TILE", [a, ints(m, *many)], b)
    m.op("RESHAPE", [b, ints(m, 1, *shape)], y)
    check(m, [x], [convolve(m, y, 4)], machine=True)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("size, pads, crops", [
    ((8, 8), [[2, 2], [2, 2]], [[0, 0], [0, 0]]),          # SAME
    ((7, 9), [[2, 3], [2, 3]], [[0, 1], [0, 1]]),          # SAME, the blocks filled up
    ((9, 10), [[0, 1], [0, 0]], [[0, 1], [0, 0]])])        # VALID, the same
def test_dilation_by_batches(size, pads, crops, depthwise):
    """SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND: one dilated convolution."""
    m = Model(np.random.default_rng(0))
    x = m.map((*size, 4))
    padded = [n + sum(pad) for n, pad in zip(size, pads, strict=True)]
    inner = [n // 2 - 2 for n in padded]
    weights = m.weights((1, 3, 3, 4), 3) if depthwise else m.weights((5, 3, 3, 4), 0)
    outputs = 4 if depthwise else 5
    spaced = m.tensor((4, *(n // 2 for n in padded), 4), scale=m.tensors[x].scale,
                      zero_point=m.tensors[x].zero_point[0])
    m.op("SPACE_TO_BATCH_ND", [x, ints(m, 2, 2), m.constant(np.array(pads, np.int32))], spaced)
    scale = spread(m, x, weights, 9 * (1 if depthwise else 4))
    z = m.tensor((4, *inner, outputs), scale=scale, zero_point=3)
    kind, options = (("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else
                     ("CONV_2D", "Conv2DOptions"))
    m.op(kind, [spaced, weights, m.bias(x, weights)], z, options, **window(Padding=VALID),
         **({"DepthMultiplier": 1} if depthwise else {}))
    y = m.tensor((1, *(2 * n - crop[1] for n, crop in zip(inner, crops, strict=True)), outputs),
                 scale=scale, zero_point=3)
    m.op("BATCH_TO_SPACE_ND", [z, ints(m, 2, 2), m.constant(np.array(crops, np.int32))], y)
    graph = check(m, [x], [y], machine=True)
    assert [(type(op), op.dilation) for op in graph.ops] == [(Conv, (2, 2))]


@pytest.mark.parametrize("axis", [1, -3])
@pytest.mark.parametrize("length, pads, crops", [(16, (2, 2), (0, 0)), (15, (2, 3), (0, 1)),
                                                 (20, (0, 0), (0, 0)), (12, (4, 0), (0, 0))])
def test_dilation_of_sequences_by_batches(length, pads, crops, axis):
    """As Keras' Conv1D is converted, its padding same, valid or causal."""
    m = Model(np.random.default_rng(0))
    x, padded = m.map((length, 4)), length + sum(pads)
    lists = [m.constant(np.array([pair], np.int32)) for pair in (pads, crops)]
    grid = {"scale": m.tensors[x].scale, "zero_point": m.tensors[x].zero_point[0]}
    short = m.tensor((2, padded // 2, 4), **grid)
    m.op("SPACE_TO_BATCH_ND", [x, ints(m, 2), lists[0]], short)
    high = m.tensor((2, 1, padded // 2, 4), **grid)
    m.op("EXPAND_DIMS", [short, ints(m, axis)], high)
    weights, inner = m.weights((5, 1, 3, 4), 0), padded // 2 - 2
    scale = spread(m, x, weights, 12)
    z, flat = (m.tensor((2, *shape, 5), scale=scale, zero_point=3) for shape in (
        (1, inner), (inner,)))
    m.op("CONV_2D", [high, weights, m.bias(x, weights)], z, "Conv2DOptions",
         **window(Padding=VALID))
    m.op("RESHAPE", [z, ints(m, -1, inner, 5)], flat)
    y = m.tensor((1, 2 * inner - crops[1], 5), scale=scale, zero_point=3)
    m.op("BATCH_TO_SPACE_ND", [flat, ints(m, 2), lists[1]], y)
    graph = check(m, [x], [y], machine=True)
    assert [(type(op), op.dilation) for op in graph.ops] == [(Conv, (1, 2))]


def test_batches_that_are_no_dilation_are_refused():
    m = Model(np.random.default_rng(0))
    x = m.map((8, 8, 4))
    spaced = m.tensor((4, 4, 4, 4), scale=m.tensors[x].scale,
                      zero_point=m.tensors[x].zero_point[0])
    none = m.constant(np.zeros((2, 2), np.int32))
    m.op("SPACE_TO_BATCH_ND", [x, ints(m, 2, 2), none], spaced)
    weights = m.weights((5, 3, 3, 4), 0)
    z = m.tensor((4, 4, 4, 5), scale=0.1)
    m.op("CONV_2D", [spaced, weights, m.bias(x, weights)], z, "Conv2DOptions",
         **window(Padding=SAME))
    y = m.tensor((1, 8, 8, 5), scale=0.1)
    m.op("BATCH_TO_SPACE_ND", [z, ints(m, 2, 2), none], y)
    with pytest.raises(Exception, match="SPACE_TO_BATCH_ND"):
        check(m, [x], [y])
