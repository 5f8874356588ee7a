"""TFLite operators that move, join, spread or scale maps: bit for bit, and on the machine."""

import numpy as np
import pytest

from systolith.sw.ir import Concat, Conv, Select, TransposedConv
from tests.tflite_check import check, inputs, result_size, spread, window
from tests.tflite_models import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Model
from tests.tflite_networks import convolve, ints, random_model, transpose_conv

SEEDS = range(4)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("activation, bias", [(NONE, True), (RELU6, True), (RELU, False)])
@pytest.mark.parametrize("kernel, stride", [
    ((3, 3), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (2, 2)), ((1, 2), (3, 3)), ((5, 3), (3, 1)),
    ((3, 3), (1, 1)), ((2, 5), (1, 2))])
def test_transpose_conv(kernel, stride, activation, bias, padding):
    m = Model(np.random.default_rng(kernel[0] + stride[1]))
    x = m.map((5, 4, 6))
    y = transpose_conv(m, x, 7, kernel, stride, padding, activation=activation, bias=bias,
                       per_channel=bool(kernel[0] % 2))
    graph = check(m, [x], [y], machine=True)
    assert isinstance(graph.ops[0], TransposedConv)


@pytest.mark.parametrize("size", [(9, 7), (10, 8), (11, 9)])
def test_transpose_conv_to_every_size(size):
    """Sizes that a convolution of stride 2 would make the same input of."""
    m = Model(np.random.default_rng(1))
    x = m.map((5, 4, 3))
    padding = VALID if size == (11, 9) else SAME
    check(m, [x], [transpose_conv(m, x, 4, (3, 3), (2, 2), padding, size)], machine=True)


@pytest.mark.parametrize("corners, half", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("size", [(10, 8), (15, 12), (5, 12), (7, 9), (3, 2), (1, 1), (16, 5),
                                  (13, 27)])
def test_resize_nearest_neighbor(size, corners, half):
    m = Model(np.random.default_rng(0))
    x = m.map((5, 4, 6))
    y = m.map((*size, 6), like=x)
    m.op("RESIZE_NEAREST_NEIGHBOR", [x, ints(m, *size)], y, "ResizeNearestNeighborOptions",
         AlignCorners=corners, HalfPixelCenters=half)
    graph = check(m, [x], [y], machine=True)
    assert [type(op) for op in graph.ops] == [Select]


@pytest.mark.parametrize("corners, half", [(False, False), (True, False), (False, True)])
def test_every_resize_of_a_row(corners, half):
    for length in range(1, 12):
        for size in range(1, 26):
            m = Model(np.random.default_rng(0))
            x, y = m.map((1, length, 1), scale=1.0), m.map((1, size, 1), scale=1.0)
            m.tensors[y].zero_point = m.tensors[x].zero_point
            m.op("RESIZE_NEAREST_NEIGHBOR", [x, ints(m, 1, size)], y,
                 "ResizeNearestNeighborOptions", AlignCorners=corners, HalfPixelCenters=half)
            z = m.map((1, size, 1), like=y)
            m.op("MAX_POOL_2D", [y], z, "Pool2DOptions", FilterHeight=1, FilterWidth=1, **window())
            row = np.arange(length, dtype=np.int8).reshape(1, 1, length, 1)
            check(m, [x], [z], [row])


@pytest.mark.parametrize("begin, size, result", [
    ((0, 0, 0, 2), (1, -1, -1, 3), (6, 5, 3)), ((0, 1, 2, 0), (1, 4, 3, 7), (4, 3, 7)),
    ((0, 5, 4, 6), (1, 1, 1, 1), (1, 1, 1))])
def test_slice(begin, size, result):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 7))
    y = m.map(result, like=x)
    m.op("SLICE", [x, ints(m, *begin), ints(m, *size)], y, "SliceOptions")
    assert isinstance(check(m, [x], [y], machine=True).ops[0], Select)


@pytest.mark.parametrize("begin, end, stride, masks, result", [
    ((0, 0, 0, 2), (1, 6, 5, 6), (1, 1, 1, 1), {}, (6, 5, 4)),
    ((0, 1, 0, 1), (1, 6, 5, 7), (1, 2, 3, 2), {}, (3, 2, 3)),
    ((0, 1, 1, 0), (0, 3, 0, 0), (1, 1, 1, 1), {"BeginMask": 9, "EndMask": 13}, (2, 4, 7)),
    ((0, -1, -2, 0), (1, -7, 99, 7), (1, -1, 1, 1), {}, (6, 2, 7)),
    ((0, 3, 0, 0), (1, 4, 5, 7), (1, 1, 1, 1), {"ShrinkAxisMask": 2}, (5, 7)),
    ((0, 0, 0, -2), (1, 6, 5, -1), (1, 1, 1, 1), {"ShrinkAxisMask": 8}, (6, 5)),
])
def test_strided_slice(begin, end, stride, masks, result):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 7))
    y = m.map(result, like=x)
    m.op("STRIDED_SLICE", [x, ints(m, *begin), ints(m, *end), ints(m, *stride)], y,
         "StridedSliceOptions", **masks)
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("axis, count", [(3, 2), (-1, 4), (1, 3), (2, 5)])
def test_split(axis, count):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 8))
    shape = list(m.tensors[x].shape[1:])
    shape[axis - 1 if axis > 0 else axis] //= count
    ys = [m.map(shape, like=x) for _ in range(count)]
    m.op("SPLIT", [m.constant(np.int32(axis)), x], ys, "SplitOptions", NumSplits=count)
    z = m.map(shape, like=x)
    m.op("RELU", [ys[0]], z)       # beside another reader of the map
    check(m, [x], [z, *ys[1:]], machine=True)


@pytest.mark.parametrize("axis, lengths", [(3, [1, 5, 2]), (1, [4, -1]), (2, [3, 2])])
def test_split_v(axis, lengths):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 8))
    ys = []
    for length in lengths:
        shape = list(m.tensors[x].shape[1:])
        shape[axis - 1] = length if length > 0 else shape[axis - 1] - sum(lengths) - 1
        ys.append(m.map(shape, like=x))
    m.op("SPLIT_V", [x, ints(m, *lengths), m.constant(np.int32(axis))], ys, "SplitVOptions",
         NumSplits=len(lengths))
    check(m, [x], ys, machine=True)


@pytest.mark.parametrize("axis, indices, result", [
    (3, [6, 0, 0, 3], (6, 5, 4)), (1, [5, 2], (2, 5, 7)), (2, 3, (6, 7))])
def test_gather(axis, indices, result):
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 7))
    y = m.map(result, like=x)
    m.op("GATHER", [x, m.constant(np.array(indices, np.int32))], y, "GatherOptions", Axis=axis)
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("kind, shape", [("SPACE_TO_DEPTH", (6, 6, 2)),
                                         ("DEPTH_TO_SPACE", (3, 2, 36))])
def test_blocks(kind, shape, block):
    m = Model(np.random.default_rng(0))
    x = m.map(shape)
    h, w, c = shape
    y = m.map((h // block, w // block, c * block ** 2) if kind == "SPACE_TO_DEPTH" else (
        h * block, w * block, c // block ** 2), like=x)
    z = m.map(m.tensors[y].shape[1:], like=y)
    m.op(kind, [x], y, f"{kind.title().replace('_', '')}Options".replace("Depthto", "DepthTo"),
         BlockSize=block)
    m.op("MAX_POOL_2D", [y], z, "Pool2DOptions", FilterHeight=1, FilterWidth=1, **window())
    check(m, [x], [z], machine=True)


@pytest.mark.parametrize("mode", [0, 1], ids=["reflect", "symmetric"])
def test_mirror_pad(mode):
    m = Model(np.random.default_rng(0))
    x = m.map((5, 6, 3))
    y = m.map((8, 8, 3), like=x)
    m.op("MIRROR_PAD", [x, m.constant(np.array([[0, 0], [1, 2], [2, 0], [0, 0]], np.int32))], y,
         "MirrorPadOptions", Mode=mode)
    check(m, [x], [y], machine=True)


def test_concatenation_is_one_operation():
    m = Model(np.random.default_rng(0))
    x = m.map((4, 5, 3))
    part, y = m.map((4, 5, 2), like=x), m.map((4, 5, 8), like=x)
    m.op("SLICE", [x, ints(m, 0, 0, 0, 1), ints(m, 1, 4, 5, 2)], part, "SliceOptions")
    m.op("CONCATENATION", [x, part, x], y, "ConcatenationOptions", Axis=3)
    graph = check(m, [x], [y], machine=True)
    assert [type(op) for op in graph.ops] == [Select, Concat]


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 1, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_constants(kind, swapped, shape):
    m = Model(np.random.default_rng(len(shape)))
    x = m.map((5, 3, 4))
    constant = m.constant(m.rng.integers(-128, 128, shape).astype(np.int8), scale=0.03,
                          zero_point=0 if kind == "MUL" else 17)
    y = m.map((5, 3, 4))
    operands = [constant, x] if swapped else [x, constant]
    m.op(kind, operands, y, f"{kind.capitalize()}Options",
         FusedActivationFunction=[NONE, RELU, RELU_N1_TO_1][len(shape) % 3])
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("seed", range(60))
def test_products_with_constants(seed):
    """Every level with every kind of constant, scales that make ties among them."""
    m = Model(np.random.default_rng(seed))
    scale = float(np.exp(m.rng.uniform(-5, 0)))
    x = m.map((1, 256, 4), scale=scale, zero_point=int(m.rng.integers(-128, 128)))
    zero_point = 0 if seed % 3 else int(m.rng.choice([-128, 127, 3]))
    levels = m.rng.integers(-128, 128, 4)
    levels[seed % 4] = m.rng.choice([-128, 127])
    if seed % 3 == 0:    # where int8 does not reach, halves do
        levels = (levels - zero_point) // 2 * 2 + zero_point
        levels = np.clip(levels, -128 + zero_point % 2, 127 - (127 - zero_point) % 2)
    constant = m.constant(levels.astype(np.int8), scale=0.02, zero_point=zero_point)
    ratio = m.rng.integers(20, 128) / (m.rng.integers(1, 60) + 0.5)
    y = m.map((1, 256, 4), scale=float(np.float32(scale * 0.02 * ratio * (1 + seed % 40))),
              zero_point=int(m.rng.integers(-128, 128)))
    m.op("MUL", [x, constant], y, "MulOptions")
    array = np.broadcast_to(np.arange(-128, 128, dtype=np.int8)[:, None], (1, 1, 256, 4))
    check(m, [x], [y], [np.ascontiguousarray(array)])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("shape", [(1, 1, 7), (6, 1, 7), (6, 5, 1), (1, 1, 1), (7,)])
@pytest.mark.parametrize("kind", ["ADD", "SUB"])
def test_broadcasting(kind, shape, order):
    m = Model(np.random.default_rng(0))
    a, b = m.map((6, 5, 7)), m.map(shape)
    scale = (m.tensors[a].scale[0] + m.tensors[b].scale[0]) * m.rng.uniform(0.5, 2)
    y = m.map((6, 5, 7), scale=scale)
    m.op(kind, [a, b][::order], y, f"{kind.capitalize()}Options")
    check(m, [a, b], [y], machine=True)


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4), (1,)])
@pytest.mark.parametrize("signs", ["positive", "both", "wide"])
@pytest.mark.parametrize("seed", range(6))
def test_p_relu(seed, signs, shape):
    m = Model(np.random.default_rng(seed))
    source = float(np.exp(m.rng.uniform(-4, -1)))
    x = m.map((2, 128, 4), scale=source)
    levels = m.rng.integers(0 if signs == "positive" else -127, 128, shape)
    zero_point = 0
    if signs == "wide":            # as converters write slopes of 0 to 255 steps
        levels, zero_point = m.rng.integers(-64, 64, shape) * 2, -128
    slopes = m.constant(levels.astype(np.int8), scale=0.004, zero_point=zero_point)
    y = m.map((2, 128, 4), scale=source * float(m.rng.uniform(0.5, 1.5)))
    m.op("PRELU", [x, slopes], y)
    array = np.broadcast_to(np.arange(-128, 128, dtype=np.int8).reshape(2, 128, 1), (1, 2, 128, 4))
    check(m, [x], [y], [np.ascontiguousarray(array)], machine=seed == 0)


@pytest.mark.parametrize("seed", range(12))
def test_leaky_relu_with_negative_slopes(seed):
    m = Model(np.random.default_rng(seed))
    x = m.map((2, 128, 1), scale=0.05)
    y = m.map((2, 128, 1), scale=0.05 * float(m.rng.uniform(0.5, 1.5)))
    m.op("LEAKY_RELU", [x], y, "LeakyReluOptions", Alpha=-float(m.rng.uniform(0, 2)))
    check(m, [x], [y], [np.arange(-128, 128, dtype=np.int8).reshape(1, 2, 128, 1)],
          machine=seed == 0)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes, shape", [([1], (8, 5, 6)), ([2], (8, 5, 6)), ([-2], (8, 5, 6)),
                                         ([1], (9, 4)), ([2, 1, 2], (8, 5, 6)),
                                         ([1], (9,))])
def test_mean_over_one_axis(axes, shape, keep):
    m = Model(np.random.default_rng(0))
    x = m.map(shape)
    rank = len(shape) + 1
    reduced = {axis % rank for axis in axes}
    kept = [1 if i in reduced else n for i, n in enumerate(shape, 1) if keep or i not in reduced]
    y = m.map(kept, scale=m.tensors[x].scale[0] * 0.7)
    m.op("MEAN", [x, ints(m, *axes)], y, "ReducerOptions", KeepDims=keep)
    arrays = inputs(m, [x])
    arrays[0][2:] = np.sort(arrays[0][2:], axis=0)
    check(m, [x], [y], arrays, machine=True)


# -- whole networks --------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed):
    m, xs, ys = random_model(seed)
    check(m, xs, ys, machine=True)


def test_float_ends_with_several_readers():
    """A float input read twice, and three float results, one of them of the input alone."""
    m = Model(np.random.default_rng(0))
    x, q = m.tensor((1, 6, 6, 4), "float32"), m.map((6, 6, 4), scale=0.05)
    m.op("QUANTIZE", [x], q)
    a, b = (m.map((6, 6, 2), like=q) for _ in range(2))
    m.op("SPLIT", [m.constant(np.int32(3)), q], [a, b], "SplitOptions", NumSplits=2)
    results = [convolve(m, q, 3), a, convolve(m, b, 2)]
    ends = [m.tensor(m.tensors[y].shape, "float32") for y in results]
    for y, end in zip(results, ends, strict=True):
        m.op("DEQUANTIZE", [y], end)
    check(m, [x], ends, machine=True)


# -- where operators meet --------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["DEQUANTIZE", "LOGISTIC", "RESHAPE", "PAD"])
def test_model_that_the_host_alone_could_compute(kind):
    """The device passes the input on."""
    m = Model(np.random.default_rng(0))
    x = m.map((6, 5, 4))
    if kind == "DEQUANTIZE":
        y = m.op(kind, [x], m.tensor((1, 6, 5, 4), "float32"))
    elif kind == "LOGISTIC":
        y = m.op(kind, [x], m.map((6, 5, 4), scale=1 / 256, zero_point=-128))
    elif kind == "RESHAPE":
        y = m.op(kind, [x, ints(m, 1, 5, 24)], m.map((5, 24), like=x), "ReshapeOptions")
    else:
        none = m.constant(np.zeros((4, 2), np.int32))
        y = m.op(kind, [x, none], m.map((6, 5, 4), like=x), "PadOptions")
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_input_that_is_an_output_too(dtype):
    """More images than there are buffers, of which inputs and outputs have two each."""
    m = Model(np.random.default_rng(0))
    x = z = m.map((6, 5, 4))
    if dtype == "float32":
        x = m.tensor((1, 6, 5, 4), dtype)
        m.op("QUANTIZE", [x], z)
    outputs = [convolve(m, z, 3), z]
    if dtype == "float32":
        outputs = [m.op("DEQUANTIZE", [y], m.tensor(m.tensors[y].shape, dtype)) for y in outputs]
    check(m, [x], outputs, machine=True)


@pytest.mark.parametrize("kind, result", [
    ("GATHER", (3, 4, 5)), ("TILE", (6, 4, 3)), ("MIRROR_PAD", (5, 7, 3))])
def test_repeated_elements_before_a_fully_connected_layer(kind, result):
    """No weight can stand for two: the elements are repeated in memory."""
    m = Model(np.random.default_rng(0))
    x = m.map((3, 4, 3))
    operand, options = {
        "GATHER": (ints(m, 0, 2, 2, 1, 0), {"options": "GatherOptions", "Axis": 3}),
        "TILE": (ints(m, 1, 2, 1, 1), {}),
        "MIRROR_PAD": (m.constant(np.array([[0, 0], [1, 1], [3, 0], [0, 0]], np.int32)),
                       {"options": "MirrorPadOptions", "Mode": 0})}[kind]
    y = m.op(kind, [x, operand], m.map(result, like=x), **options)
    size = int(np.prod(result))
    flat = m.op("RESHAPE", [y, ints(m, 1, -1)], m.map((size,), like=x), "ReshapeOptions")
    weights = m.weights((5, size), 0)
    z = m.map((5,), scale=spread(m, x, weights, size))
    m.op("FULLY_CONNECTED", [flat, weights, m.bias(x, weights)], z, "FullyConnectedOptions")
    graph = check(m, [x], [z], machine=True)
    assert [type(op) for op in graph.ops] == [Select, Conv]


@pytest.mark.parametrize("shape, widths", [
    ((5, 6, 3), [[1, 0], [0, 2], [2, 3]]), ((5, 6, 3), [[0, 0], [0, 0], [0, 4]]),
    ((6, 3), [[2, 1], [0, 0]]), ((6, 3), [[1, 0], [1, 1]]), ((7,), [[2, 3]])])
@pytest.mark.parametrize("follow", ["end", "MAX_POOL_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED"])
def test_pad_of_any_axes(shape, widths, follow):
    m = Model(np.random.default_rng(0))
    x = m.map(shape)
    size = [n + sum(pad) for n, pad in zip(shape, widths, strict=True)]
    amounts = m.constant(np.array([[0, 0], *widths], np.int32))
    y = m.op("PAD", [x, amounts], m.map(size, like=x), "PadOptions")
    if follow == "FULLY_CONNECTED":
        weights = m.weights((5, int(np.prod(size))), 0)
        y = m.op("RESHAPE", [y, ints(m, 1, -1)], m.map((np.prod(size),), like=x))
        y = m.op(follow, [y, weights, m.bias(x, weights)], m.map((5,), scale=spread(
            m, x, weights, 30)), "FullyConnectedOptions")
    elif follow == "MEAN":
        y = m.op(follow, [y, ints(m, -1)], m.map((*size[:-1], 1), scale=m.tensors[x].scale[0] / 2),
                 "ReducerOptions", KeepDims=True)
    elif follow == "CONV_2D" and len(shape) == 3:
        y = convolve(m, y, 4)
    elif follow == "MAX_POOL_2D" and len(shape) == 3:
        y = m.op(follow, [y], m.map((size[0] - 1, size[1] - 1, size[2]), like=x), "Pool2DOptions",
                 FilterHeight=2, FilterWidth=2, **window())
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("source, target", [("uint8", "int8"), ("int8", "uint8"),
                                            ("uint8", "uint8")])
def test_quantize_between_types_and_scales(source, target):
    m = Model(np.random.default_rng(0))
    x = m.tensor((1, 4, 5, 3), source, 0.04, 20)
    y = m.tensor((1, 4, 5, 3), target, 0.07, 33)
    m.op("QUANTIZE", [x], y)
    check(m, [x], [y], machine=True)


def test_result_size():
    assert result_size((8, 7), (3, 2), window(StrideH=2, StrideW=2)) == [3, 3]
