"""Imported TFLite models against LiteRT's reference kernels: every operator, bit for bit."""

import numpy as np
import pytest
import tflite

from systolith.sim import golden
from systolith.sw.importer.tflite import import_tflite
from tests.tflite_check import check, inputs, result_size, spread, window
from tests.tflite_models import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Model, reference

SEEDS = range(4)


CONVS = {
    "plain": ((7, 6, 3), (5, 3, 3, 3), window()),
    "same": ((7, 6, 3), (5, 3, 3, 3), window(Padding=SAME)),
    "strided same": ((8, 7, 4), (6, 3, 2, 4), window(Padding=SAME, StrideH=2, StrideW=2)),
    "uneven stride": ((9, 8, 2), (3, 4, 3, 2), window(Padding=SAME, StrideH=3, StrideW=1)),
    "dilated": ((9, 9, 3), (4, 3, 3, 3), window(DilationHFactor=2, DilationWFactor=3)),
    "dilated same": ((9, 9, 3), (4, 3, 3, 3), window(Padding=SAME, DilationHFactor=2,
                                                     DilationWFactor=2)),
    "pointwise": ((5, 5, 16), (12, 1, 1, 16), window()),
    "grouped": ((5, 5, 8), (6, 3, 3, 4), window(Padding=SAME)),
    "stride beyond window": ((8, 8, 3), (4, 1, 1, 3), window(Padding=SAME, StrideH=2, StrideW=2)),
}


@pytest.mark.parametrize("per_channel", [True, False], ids=["channels", "tensor"])
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6, RELU_N1_TO_1])
@pytest.mark.parametrize("name", CONVS)
def test_conv_2d(name, activation, per_channel):
    shape, weights, options = CONVS[name]
    m = Model(np.random.default_rng(activation))
    x = m.map(shape)
    w = m.weights(weights, 0, per_channel)
    y = m.tensor((1, *result_size(shape, weights[1:3], options), weights[0]), scale=spread(
        m, x, w, np.prod(weights[1:])), zero_point=int(m.rng.integers(-128, 128)))
    m.op("CONV_2D", [x, w, m.bias(x, w)], y, "Conv2DOptions", FusedActivationFunction=activation,
         **options)
    check(m, [x], [y], machine=activation == RELU6 and per_channel)


@pytest.mark.parametrize("multiplier", [1, 2, 5])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("per_channel", [True, False], ids=["channels", "tensor"])
def test_depthwise_conv_2d(multiplier, padding, per_channel):
    m = Model(np.random.default_rng(multiplier))
    channels, options = 5, window(Padding=padding, StrideH=2, StrideW=2)
    x = m.map((9, 8, channels))
    w = m.weights((1, 3, 4, channels * multiplier), 3, per_channel)
    y = m.tensor((1, *result_size((9, 8), (3, 4), options), channels * multiplier),
                 scale=spread(m, x, w, 12), zero_point=int(m.rng.integers(-128, 128)))
    m.op("DEPTHWISE_CONV_2D", [x, w, m.bias(x, w)], y, "DepthwiseConv2DOptions",
         DepthMultiplier=multiplier, FusedActivationFunction=RELU, **options)
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "none"])
@pytest.mark.parametrize("per_channel", [True, False], ids=["channels", "tensor"])
@pytest.mark.parametrize("depth", [7, 64, 500])
def test_fully_connected(depth, per_channel, bias):
    m = Model(np.random.default_rng(depth))
    x = m.map((depth,))
    w = m.weights((20, depth), 0, per_channel)
    y = m.tensor((1, 20), scale=spread(m, x, w, depth), zero_point=5)
    m.op("FULLY_CONNECTED", [x, w, m.bias(x, w) if bias else -1], y, "FullyConnectedOptions",
         FusedActivationFunction=RELU6 if bias else NONE)
    check(m, [x], [y], inputs(m, [x], 200), machine=bias)


@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("factor", [2 ** -11, 2 ** -7, 1e-3, 3e-5, 2e-6, 0.37, 0.5, 1.9])
def test_where_results_step(factor, kind):
    """The biases are the accumulators around every step, where rounding once or twice shows."""
    m = Model(np.random.default_rng(1))
    scale = np.float32(2 ** -6 if np.log2(factor) % 1 == 0 else 0.0173)
    real = float(scale) * float(scale)
    result = np.float32(real / factor)
    levels = np.arange(-130, 131)[:, None] - 0.5
    steps = np.ceil(levels * float(result) / real) + np.arange(-2, 3)
    shape = {"FULLY_CONNECTED": (steps.size, 1), "CONV_2D": (steps.size, 1, 1, 1),
             "DEPTHWISE_CONV_2D": (1, 1, 1, steps.size)}[kind]
    flat = kind == "FULLY_CONNECTED"
    x = m.tensor((1, 1) if flat else (1, 1, 1, 1), scale=scale)
    w = m.constant(np.zeros(shape, np.int8), scale=scale)
    b = m.constant(steps.ravel().astype(np.int32), scale=real)
    y = m.tensor((1, steps.size) if flat else (1, 1, 1, steps.size), scale=result, zero_point=-3)
    options = {"FULLY_CONNECTED": "FullyConnectedOptions", "CONV_2D": "Conv2DOptions"}.get(
        kind, "DepthwiseConv2DOptions")
    fields = {} if flat else window()
    if kind == "DEPTHWISE_CONV_2D":
        fields["DepthMultiplier"] = steps.size
    m.op(kind, [x, w, b], y, options, **fields)
    check(m, [x], [y], inputs(m, [x], 2))


@pytest.mark.parametrize("keep", [True, False])
def test_fully_connected_at_every_pixel(keep):
    m = Model(np.random.default_rng(3))
    x = m.map((6, 9))
    w = m.weights((5, 9), 0)
    y = m.tensor((1, 6, 5) if keep else (6, 5), scale=spread(m, x, w, 9))
    m.op("FULLY_CONNECTED", [x, w, m.bias(x, w)], y, "FullyConnectedOptions", KeepNumDims=keep)
    if keep:
        check(m, [x], [y])
    else:
        with pytest.raises(Exception, match="batch"):
            check(m, [x], [y])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("activation", [NONE, RELU, RELU6, RELU_N1_TO_1])
@pytest.mark.parametrize("kind,options", [("ADD", "AddOptions"), ("SUB", "SubOptions")])
def test_add_and_sub(kind, options, activation, seed):
    m = Model(np.random.default_rng(seed))
    a, b = m.map((6, 5, 7)), m.map((6, 5, 7))
    scale = (m.tensors[a].scale[0] + m.tensors[b].scale[0]) * m.rng.uniform(0.5, 2)
    y = m.map((6, 5, 7), scale=scale, zero_point=int(m.rng.integers(-128, 128)))
    m.op(kind, [a, b], y, options, FusedActivationFunction=activation)
    check(m, [a, b], [y], machine=seed == 0)


def test_add_to_itself_and_of_equal_scales():
    m = Model(np.random.default_rng(0))
    a = m.map((4, 4, 3))
    b, y = m.map((4, 4, 3)), m.map((4, 4, 3), like=a)
    m.op("ADD", [a, a], b, "AddOptions")
    m.op("SUB", [b, a], y, "SubOptions")
    check(m, [a], [y], machine=True)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("activation", [NONE, RELU6])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("kernel,stride", [((2, 2), (2, 2)), ((3, 2), (2, 1)), ((3, 3), (1, 1)),
                                           ((5, 7), (3, 3))])
def test_pooling(kind, kernel, stride, padding, activation):
    m = Model(np.random.default_rng(kernel[0]))
    options = window(Padding=padding, StrideH=stride[0], StrideW=stride[1])
    x = m.map((9, 8, 6), scale=0.05)
    y = m.map((*result_size((9, 8), kernel, options), 6), like=x)
    m.op(kind, [x], y, "Pool2DOptions", FilterHeight=kernel[0], FilterWidth=kernel[1],
         FusedActivationFunction=activation, **options)
    check(m, [x], [y], machine=activation == NONE)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [[1, 2], [-2, -3]])
@pytest.mark.parametrize("shape", [(8, 8, 5), (7, 3, 9), (1, 1, 4), (25, 5, 3)])
@pytest.mark.parametrize("same", [True, False])
def test_mean(shape, axes, keep, same):
    m = Model(np.random.default_rng(shape[0]))
    x = m.map(shape)
    result = (1, 1, shape[2]) if keep else (shape[2],)
    ratio = 1 if same else m.rng.uniform(0.1, 3)
    y = m.map(result, like=x) if same else m.map(result, scale=m.tensors[x].scale[0] * ratio)
    m.op("MEAN", [x, m.constant(np.array(axes, np.int32))], y, "ReducerOptions", KeepDims=keep)
    arrays = inputs(m, [x])
    arrays[0][2:] = np.sort(arrays[0][2:], axis=0)  # means all over the range
    check(m, [x], [y], arrays, machine=keep)


def near_tie(m, factor=1.0):
    """Return two scales whose quotient makes a tie of some level, as float32 allows."""
    scale = np.float32(np.exp(m.rng.uniform(-5, 0)))
    level, result = m.rng.integers(20, 128), m.rng.integers(1, 30)
    return float(scale), float(np.float32(float(scale) * factor * level / (result + 0.5)))


@pytest.mark.parametrize("kind", ["RELU", "RELU6", "QUANTIZE", "LEAKY_RELU", "MEAN", "ADD",
                                  "SUB"])
@pytest.mark.parametrize("seed", range(25))
def test_factors_that_make_ties(kind, seed):
    """What is computed in float32 and what in float64 shows where a level is nearly a tie."""
    m = Model(np.random.default_rng(seed))
    alpha = float(np.float32(m.rng.uniform(0.01, 0.9)))
    source, target = near_tie(m, alpha if kind == "LEAKY_RELU" and seed % 2 else 1.0)
    x = m.map((3, 256), scale=source, zero_point=0)
    if kind == "MEAN":
        x = m.map((3, 1, 256), scale=source, zero_point=0)
    y = m.map((256,) if kind == "MEAN" else (3, 256), scale=target, zero_point=seed - 12)
    if kind == "MEAN":
        axes = m.constant(np.array([1, 2], np.int32))
        m.op(kind, [x, axes], y, "ReducerOptions", KeepDims=False)
    elif kind == "LEAKY_RELU":
        m.op(kind, [x], y, "LeakyReluOptions", Alpha=alpha)
    elif kind in ("ADD", "SUB"):
        b = m.map((3, 256), scale=source * float(m.rng.uniform(0.3, 3)), zero_point=0)
        m.op(kind, [x, b], y, f"{kind.capitalize()}Options")
    else:
        m.op(kind, [x], y)
    array = np.broadcast_to(np.arange(-128, 128, dtype=np.int8), (1, *m.tensors[x].shape[1:]))
    array = np.ascontiguousarray(array)
    if kind in ("ADD", "SUB"):
        check(m, [x, b], [y], [array, np.zeros_like(array)])
        check(m, [x, b], [y], [np.zeros_like(array), array])
    else:
        check(m, [x], [y], [array])


@pytest.mark.parametrize("seed", range(6))
def test_leaky_relu_inside(seed):
    m = Model(np.random.default_rng(seed))
    x, z = m.map((6, 5, 3)), m.map((6, 5, 3))
    alpha = float([0.1, 0.01, 0.3, 0.0, 1.0, 1.5][seed])
    m.op("LEAKY_RELU", [x], z, "LeakyReluOptions", Alpha=alpha)
    check(m, [x], [small_network(m, z), z], machine=True)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH", "HARD_SWISH"])
def test_tables_at_the_end(kind, seed):
    m = Model(np.random.default_rng(seed))
    scale, zero_point = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(
        kind, (float(np.exp(m.rng.uniform(-4, -1))), int(m.rng.integers(-128, 128))))
    source = float(np.exp(m.rng.uniform(-5, -1)))
    if kind == "HARD_SWISH":
        source = scale * float(m.rng.uniform(0.3, 3))
    x = m.map((1, 1, 256), scale=source)
    p = m.map((1, 1, 256), like=x)
    y = m.map((1, 1, 256), scale=scale, zero_point=zero_point)
    m.op("MAX_POOL_2D", [x], p, "Pool2DOptions", FilterHeight=1, FilterWidth=1, **window())
    m.op(kind, [p], y)
    outputs = [y]
    if seed % 2:
        outputs = [m.tensor((1, 1, 1, 256), "float32")]
        m.op("DEQUANTIZE", [y], outputs[0])
    array = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 1, 256)
    check(m, [x], outputs, [array], machine=seed < 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("same", [True, False])
def test_relu(kind, same, seed):
    m = Model(np.random.default_rng(seed))
    x = m.map((5, 4, 3))
    y = m.map((5, 4, 3), like=x) if same else m.map((5, 4, 3))
    m.op(kind, [x], y)
    check(m, [x], [y], machine=seed == 0)


@pytest.mark.parametrize("seed", range(8))
def test_softmax(seed):
    m = Model(np.random.default_rng(seed))
    x = m.map((12,), scale=float(np.exp(m.rng.uniform(-5, 0))))
    z, y = m.map((12,), like=x), m.map((12,), scale=1 / 256, zero_point=-128)
    w = m.constant(np.eye(12, dtype=np.int8), scale=1.0)
    m.op("FULLY_CONNECTED", [x, w, -1], z, "FullyConnectedOptions")
    m.op("SOFTMAX", [z], y, "SoftmaxOptions", Beta=float([1, 1, 0.5, 2][seed % 4]))
    arrays = inputs(m, [x], 400)
    arrays[0] = (arrays[0] // (seed % 3 + 1)).astype(np.int8)
    check(m, [x], [y], arrays)


@pytest.mark.parametrize("seed", range(8))
def test_quantize_from_scale_to_scale(seed):
    m = Model(np.random.default_rng(seed))
    x, y = m.map((5, 4, 3)), m.map((5, 4, 3))
    m.op("QUANTIZE", [x], y)
    check(m, [x], [y], machine=True)


def small_network(m, x):
    """Add a convolution behind a tensor; return its result."""
    shape = m.tensors[x].shape[1:]
    w = m.weights((4, 3, 3, shape[2]), 0)
    y = m.tensor((1, *shape[:2], 4), scale=spread(m, x, w, 9 * shape[2]), zero_point=-7)
    m.op("CONV_2D", [x, w, m.bias(x, w)], y, "Conv2DOptions", **window(Padding=SAME))
    return y


@pytest.mark.parametrize("seed", SEEDS)
def test_float_outside_int8_inside(seed):
    m = Model(np.random.default_rng(seed))
    x = m.tensor((1, 6, 5, 3), "float32")
    q = m.map((6, 5, 3), scale=0.25 if seed == 0 else None)
    m.op("QUANTIZE", [x], q)
    y = m.tensor((1, 6, 5, 4), "float32")
    m.op("DEQUANTIZE", [small_network(m, q)], y)
    arrays = inputs(m, [x])
    arrays[0][3:] = np.round(arrays[0][3:] * 8) / 8  # ties of the first scale
    check(m, [x], [y], arrays, machine=True)


def test_float_softmax_at_the_end():
    m = Model(np.random.default_rng(0))
    x, p = m.map((9,)), m.map((7,), scale=1 / 256, zero_point=-128)
    w = m.weights((7, 9), 0)
    z, y = m.tensor((1, 7), scale=spread(m, x, w, 9)), m.tensor((1, 7), "float32")
    m.op("FULLY_CONNECTED", [x, w, m.bias(x, w)], z, "FullyConnectedOptions")
    m.op("SOFTMAX", [z], p, "SoftmaxOptions", Beta=1.0)
    m.op("DEQUANTIZE", [p], y)
    check(m, [x], [y])


def test_uint8_at_the_ends():
    m = Model(np.random.default_rng(0))
    x, q = m.tensor((1, 6, 5, 3), "uint8", 0.1, 100), m.map((6, 5, 3), scale=0.1, zero_point=-28)
    m.op("QUANTIZE", [x], q)
    z = small_network(m, q)
    y = m.tensor((1, 6, 5, 4), "uint8", m.tensors[z].scale, m.tensors[z].zero_point[0] + 128)
    m.op("QUANTIZE", [z], y)
    check(m, [x], [y])


@pytest.mark.parametrize("axis,shapes", [
    (3, [(4, 5, 3), (4, 5, 6)]), (-1, [(4, 5, 2), (4, 5, 1), (4, 5, 4)]),
    (1, [(4, 5, 3), (2, 5, 3)]), (2, [(4, 1, 3), (4, 5, 3), (4, 2, 3)]),
    (1, [(5,), (7,)]), (2, [(4, 3), (4, 5)]),
])
def test_concatenation(axis, shapes):
    m = Model(np.random.default_rng(len(shapes)))
    first = m.map(shapes[0])
    xs = [first] + [m.map(shape, like=first) for shape in shapes[1:]]
    whole = list(shapes[0])
    whole[axis - 1 if axis > 0 else axis] = sum(
        s[axis - 1 if axis > 0 else axis] for s in shapes)
    y = m.map(whole, like=first)
    m.op("CONCATENATION", xs, y, "ConcatenationOptions", Axis=axis)
    check(m, xs, [y], machine=True)


@pytest.mark.parametrize("kind,options,fields", [
    ("CONV_2D", None, None), ("AVERAGE_POOL_2D", "Pool2DOptions", {}),
    ("MAX_POOL_2D", "Pool2DOptions", {}), ("ADD", "AddOptions", {}), ("nothing", None, None)])
def test_pad_and_what_follows(kind, options, fields):
    m = Model(np.random.default_rng(0))
    x = m.map((5, 6, 3))
    p = m.map((8, 7, 3), like=x)
    m.op("PAD", [x, m.constant(np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32))], p)
    y = p
    if kind == "CONV_2D":
        y = small_network(m, p)
    elif kind == "ADD":
        y = m.map((8, 7, 3), scale=m.tensors[x].scale[0] * 2)
        m.op("ADD", [p, p], y, options)
    elif kind != "nothing":
        y = m.map((4, 3, 3), like=x)
        m.op(kind, [p], y, options, FilterHeight=2, FilterWidth=2,
             **window(StrideH=2, StrideW=2))
    check(m, [x], [y], machine=True)


@pytest.mark.parametrize("build", ["RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SHAPE"])
def test_layout(build):
    m = Model(np.random.default_rng(0))
    x = m.map((3, 4, 2) if build != "SQUEEZE" else (1, 12, 2))
    if build == "RESHAPE":
        z = m.map((24,), like=x)
        m.op("RESHAPE", [x, m.constant(np.array([-1, 24], np.int32))], z, "ReshapeOptions")
    elif build == "SQUEEZE":
        z = m.map((12, 2), like=x)
        m.op("SQUEEZE", [x], z, "SqueezeOptions", SqueezeDims=[1])
    elif build == "EXPAND_DIMS":
        z = m.map((3, 1, 4, 2), like=x)
        m.op("EXPAND_DIMS", [x, m.constant(np.array(2, np.int32))], z)
    elif build == "TRANSPOSE":
        z = m.map((2, 3, 4), like=x)
        m.op("TRANSPOSE", [x, m.constant(np.array([0, 3, 1, 2], np.int32))], z)
    else:  # a Flatten of any batch
        sizes, first = m.tensor((4,), "int32"), m.tensor((), "int32")
        shape, z = m.tensor((2,), "int32"), m.map((24,), like=x)
        m.op("SHAPE", [x], sizes, "ShapeOptions", OutType=tflite.TensorType.INT32)
        m.op("STRIDED_SLICE", [sizes] + [m.constant(np.array([n], np.int32)) for n in (0, 1, 1)],
             first, "StridedSliceOptions", ShrinkAxisMask=1)
        m.op("PACK", [first, m.constant(np.array(-1, np.int32))], shape, "PackOptions",
             ValuesCount=2)
        m.op("RESHAPE", [x, shape], z, "ReshapeOptions")
    w = m.weights((5, 24), 0)
    y = m.tensor((1, 5), scale=spread(m, x, w, 24))
    if build == "SQUEEZE":  # 1-D convolutions end so
        f = m.map((24,), like=x)
        m.op("RESHAPE", [z, m.constant(np.array([1, 24], np.int32))], f, "ReshapeOptions")
        z = f
    m.op("FULLY_CONNECTED", [z, w, m.bias(x, w)], y, "FullyConnectedOptions")
    check(m, [x], [y], machine=True)


def test_random_networks():
    """Chains of operators as they stand in models, residual ones among them."""
    for seed in range(16):
        m = Model(np.random.default_rng(seed))
        x = m.map([int(n) for n in m.rng.integers((6, 6, 1), (13, 13, 5))])
        z = x
        for _ in range(int(m.rng.integers(2, 6))):
            z = BLOCKS[m.rng.integers(len(BLOCKS))](m, z)
        h, w, c = m.tensors[z].shape[1:]
        flat = m.map((h * w * c,), like=z)
        m.op("RESHAPE", [z, m.constant(np.array([1, h * w * c], np.int32))], flat, "ReshapeOptions")
        weights = m.weights((10, h * w * c), 0, per_channel=bool(seed % 2))
        logits = m.tensor((1, 10), scale=spread(m, flat, weights, h * w * c), zero_point=seed)
        m.op("FULLY_CONNECTED", [flat, weights, m.bias(flat, weights)], logits,
             "FullyConnectedOptions")
        y = m.map((10,), scale=1 / 256, zero_point=-128)
        m.op("SOFTMAX", [logits], y, "SoftmaxOptions", Beta=1.0)
        check(m, [x], [y, z] if seed % 3 else [y], machine=True)


def test_a_batch_of_several():
    m = Model(np.random.default_rng(0))
    x = m.tensor((4, 5, 4, 3), scale=0.1, zero_point=7)
    f = m.tensor((4, 60), scale=0.1, zero_point=7)
    w = m.weights((6, 60), 0)
    y = m.tensor((4, 6), scale=spread(m, x, w, 60))
    m.op("RESHAPE", [x, m.constant(np.array([-1, 60], np.int32))], f, "ReshapeOptions")
    m.op("FULLY_CONNECTED", [f, w, m.bias(x, w)], y, "FullyConnectedOptions")
    data = m.finish([x], [y])
    array = m.rng.integers(-128, 128, (4, 5, 4, 3), dtype=np.int8)
    got, = golden.run_model(import_tflite(data, "m.tflite"), array)
    np.testing.assert_array_equal(got, reference(data, array, whole=True)[0])


def residual(m, x):
    shape = m.tensors[x].shape
    a = convolve(m, x, shape[3], 1)
    y = m.map(shape[1:], scale=m.tensors[a].scale[0] * 1.3)
    m.op("ADD", [a, x] if m.rng.integers(2) else [x, a], y, "AddOptions",
         FusedActivationFunction=RELU)
    return y


def convolve(m, x, outputs=None, stride=None):
    h, w, c = m.tensors[x].shape[1:]
    outputs = int(m.rng.integers(2, 9)) if outputs is None else outputs
    stride = int(m.rng.integers(1, 3)) if stride is None else stride
    size = int(m.rng.integers(1, 4))
    options = window(Padding=SAME, StrideH=stride, StrideW=stride)
    weights = m.weights((outputs, size, size, c), 0)
    y = m.tensor((1, -(-h // stride), -(-w // stride), outputs),
                 scale=spread(m, x, weights, size * size * c),
                 zero_point=int(m.rng.integers(-128, 128)))
    m.op("CONV_2D", [x, weights, m.bias(x, weights)], y, "Conv2DOptions",
         FusedActivationFunction=int(m.rng.integers(4)), **options)
    return y


def depthwise(m, x):
    h, w, c = m.tensors[x].shape[1:]
    weights = m.weights((1, 3, 3, c), 3)
    y = m.tensor((1, h, w, c), scale=spread(m, x, weights, 9))
    m.op("DEPTHWISE_CONV_2D", [x, weights, m.bias(x, weights)], y, "DepthwiseConv2DOptions",
         DepthMultiplier=1, FusedActivationFunction=RELU6, **window(Padding=SAME))
    return y


def pool(m, x):
    h, w, c = m.tensors[x].shape[1:]
    y = m.map((-(-h // 2), -(-w // 2), c), like=x)
    m.op(["MAX_POOL_2D", "AVERAGE_POOL_2D"][m.rng.integers(2)], [x], y, "Pool2DOptions",
         FilterHeight=2, FilterWidth=2, **window(Padding=SAME, StrideH=2, StrideW=2))
    return y


def leak(m, x):
    y = m.map(m.tensors[x].shape[1:], scale=m.tensors[x].scale[0] * 0.9)
    m.op("LEAKY_RELU", [x], y, "LeakyReluOptions", Alpha=0.1)
    return y


def join(m, x):
    a = convolve(m, x, 3, 1)
    b = m.map(m.tensors[a].shape[1:], like=a)
    m.op("RELU", [a], b)
    y = m.map((*m.tensors[a].shape[1:3], 6), like=a)
    m.op("CONCATENATION", [a, b], y, "ConcatenationOptions", Axis=3)
    return y


def padded(m, x):
    h, w, c = m.tensors[x].shape[1:]
    p = m.map((h + 1, w + 1, c), like=x)
    m.op("PAD", [x, m.constant(np.array([[0, 0], [0, 1], [1, 0], [0, 0]], np.int32))], p)
    return convolve(m, p)


BLOCKS = [residual, convolve, depthwise, pool, leak, join, padded]
