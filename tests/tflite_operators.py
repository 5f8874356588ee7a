"""One TFLite operator with random parameters, odd ones among them, and what may stand behind it."""

import numpy as np

from tests.tflite_check import result_size, spread
from tests.tflite_models import SAME, VALID, Model
from tests.tflite_networks import ints, transpose_conv

__all__ = ["KINDS", "random_operator"]


def some(m, low, high):
    """Return a random number, both bounds possible."""
    return int(m.rng.integers(low, high + 1))


def pick(m, *values):
    """Return one of the values."""
    return values[some(m, 0, len(values) - 1)]


def shape(m, axes=None, most=6):
    """Return random lengths of one to three axes, or of so many."""
    return tuple(some(m, 1, most) for _ in range(axes or some(m, 1, 3)))


def fused(m):
    """Return the number of a fused activation."""
    return {"FusedActivationFunction": some(m, 0, 3)}


def sliding(m, size, kernel, dilated=True):
    """Return random options of a window and the (h, w) it makes, at least 1."""
    options = {"Padding": pick(m, SAME, VALID), "StrideH": some(m, 1, 3), "StrideW": some(m, 1, 4)}
    if dilated and some(m, 0, 1):
        options |= {"DilationHFactor": some(m, 1, 3), "DilationWFactor": some(m, 1, 2)}
    return options, [max(1, n) for n in result_size(size, kernel, options)]


def like_axes(m, size, axes):
    """Return axes, each counted from the front or from behind."""
    return [axis - pick(m, 0, len(size) + 1) for axis in axes]


# -- operators: functions of (model, kind) that return inputs and outputs ------------------------

def convolution(m, kind):
    h, w, c = shape(m, 3, 9)
    kernel = shape(m, 2, 4)
    x = m.map((h, w, c))
    options, size = sliding(m, (h, w), kernel)
    if kind == "CONV_2D":
        groups = pick(m, 1, 1, *(n for n in range(1, c + 1) if c % n == 0))
        weights = m.weights((groups * some(m, 1, 4), *kernel, c // groups), 0, some(m, 0, 1))
        outputs, table = m.tensors[weights].shape[0], "Conv2DOptions"
    else:
        options["DepthMultiplier"] = pick(m, 1, 2, 5)
        outputs, table = c * options["DepthMultiplier"], "DepthwiseConv2DOptions"
        weights = m.weights((1, *kernel, outputs), 3, some(m, 0, 1))
    y = m.map((*size, outputs), scale=spread(m, x, weights, np.prod(kernel) * 3))
    return [x], [m.op(kind, [x, weights, m.bias(x, weights)], y, table, **options, **fused(m))]


def transposed(m, kind):
    x = m.map(shape(m, 3, 5))
    y = transpose_conv(m, x, some(m, 1, 7), shape(m, 2, 4), shape(m, 2, 3), pick(m, SAME, VALID),
                       activation=some(m, 0, 3), bias=some(m, 0, 1), per_channel=some(m, 0, 1))
    return [x], [y]


def dense(m, kind):
    size = shape(m)
    x, keep = m.map(size), len(size) > 1
    weights = m.weights((some(m, 1, 20), size[-1]), 0, some(m, 0, 1))
    y = m.map((*size[:-1], m.tensors[weights].shape[0]), scale=spread(m, x, weights, size[-1]))
    return [x], [m.op(kind, [x, weights, pick(m, m.bias(x, weights), -1)], y,
                      "FullyConnectedOptions", KeepNumDims=keep, **fused(m))]


def joint(m, kind):
    """Return an operator of two maps, or of one and a constant."""
    size = shape(m)
    smaller = [pick(m, 1, n) for n in size]
    a, extreme = m.map(size), kind in ("MAXIMUM", "MINIMUM")
    t = m.tensors[a]
    case = pick(m, "same", "other", "smaller", "constant")
    if case == "constant":
        levels = m.rng.integers(-128, 128, pick(m, (), (1,), size[-1:], (1,) * len(size)))
        scale, zero = (t.scale, t.zero_point[0]) if extreme else (0.02, pick(m, 0, -128, 20))
        b = m.constant(levels.astype(np.int8), scale=scale, zero_point=zero)
    else:
        like = a if extreme else None
        b = {"same": lambda: a, "other": lambda: m.map(size, like),
             "smaller": lambda: m.map(smaller, like)}[case]()
    scales = t.scale[0], m.tensors[b].scale[0]
    y = m.map(size, a) if extreme else m.map(
        size, scale=float(np.prod(scales) * 60 if kind == "MUL" else sum(scales)))
    options = {} if extreme else fused(m)
    table = "MaximumMinimumOptions" if extreme else f"{kind.capitalize()}Options"
    m.op(kind, [a, b][::pick(m, 1, -1)], y, table, **options)
    return [i for i in dict.fromkeys([a, b]) if m.tensors[i].data is None], [y]


def pool(m, kind):
    h, w, c = shape(m, 3, 9)
    kernel = shape(m, 2, 5)
    options, size = sliding(m, (h, w), kernel, dilated=False)
    x = m.map((h, w, c))
    y = m.op(kind, [x], m.map((*size, c), like=x), "Pool2DOptions", FilterHeight=kernel[0],
             FilterWidth=kernel[1], **options, **fused(m))
    return [x], [y]


def reduced(m, kind):
    size, x = shape(m), None
    x, keep = m.map(size), some(m, 0, 1)
    axes = [int(n) for n in m.rng.permutation(len(size))[:some(m, 1, len(size))] + 1]
    kept = [1 if axis in axes else n for axis, n in enumerate(size, 1) if keep or axis not in axes]
    y = m.map(kept, like=x) if kind == "REDUCE_MAX" else m.map(
        kept, scale=m.tensors[x].scale[0] * float(m.rng.uniform(0.2, 1)))
    return [x], [m.op(kind, [x, ints(m, *like_axes(m, size, axes))], y, "ReducerOptions",
                      KeepDims=keep)]


def padded(m, kind):
    size = shape(m)
    x, widths = m.map(size), m.rng.integers(0, 3, (len(size) + 1, 2)).astype(np.int32)
    widths[0] = 0
    widths[-1] *= some(m, 0, 1)
    operands = [x, m.constant(widths.astype(pick(m, np.int32, np.int64)))]
    if kind == "PADV2":
        t = m.tensors[x]
        operands.append(m.constant(np.int8([t.zero_point[0]]), scale=t.scale,
                                   zero_point=t.zero_point[0]))
    fields = {"options": "MirrorPadOptions", "Mode": some(m, 0, 1)} if kind == "MIRROR_PAD" else {}
    y = m.map([n + pad.sum() for n, pad in zip(size, widths[1:], strict=True)], like=x)
    return follow(m, x, m.op(kind, operands, y, **fields))


def concatenation(m, kind):
    size = shape(m)
    axis, xs = some(m, 1, len(size)), [m.map(size)]
    for _ in range(some(m, 0, 2)):
        other = list(size)
        other[axis - 1] = some(m, 1, 4)
        xs.append(m.map(other, like=xs[0]))
    xs.append(xs[0])
    total = list(size)
    total[axis - 1] = sum(m.tensors[x].shape[axis] for x in xs)
    y = m.map(total, like=xs[0])
    m.op(kind, xs, y, "ConcatenationOptions", Axis=like_axes(m, size, [axis])[0])
    return list(dict.fromkeys(xs)), [y]


def rearranged(m, kind):
    """Return one to three operators that only change the shape."""
    x = y = m.map(shape(m))
    for _ in range(some(m, 1, 3)):
        size = m.tensors[y].shape[1:]
        match pick(m, "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"):
            case "RESHAPE":
                first = pick(m, *(n for n in range(1, np.prod(size) + 1) if np.prod(size) % n == 0))
                new = [first, int(np.prod(size)) // first]
                y = m.op("RESHAPE", [y, ints(m, m.batch, pick(m, first, -1), new[1])],
                         m.map(new, like=x), "ReshapeOptions")
            case "TRANSPOSE":
                order = [int(n) for n in m.rng.permutation(len(size))]
                y = m.op("TRANSPOSE", [y, ints(m, 0, *(n + 1 for n in order))],
                         m.map([size[n] for n in order], like=x))
            case "SQUEEZE" if 1 in size and len(size) > 1:
                new = list(size)
                new.remove(1)
                axis = like_axes(m, size, [size.index(1) + 1])
                y = m.op("SQUEEZE", [y], m.map(new, like=x), "SqueezeOptions", SqueezeDims=axis)
            case "EXPAND_DIMS" if len(size) < 3:
                axis, new = some(m, 1, len(size) + 1), list(size)
                new.insert(axis - 1, 1)
                y = m.op("EXPAND_DIMS", [y, ints(m, *like_axes(m, new, [axis]))],
                         m.map(new, like=x))
    return follow(m, x, y)


def function(m, kind):
    """Return an operator of one number."""
    x = m.map(shape(m))
    scale, zero = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128),
                   "TANH": (1 / 128, 0)}.get(kind, (None, None))
    scale = scale or m.tensors[x].scale[0] * float(m.rng.uniform(0.4, 1.5))
    fields = {"LEAKY_RELU": {"options": "LeakyReluOptions",
                             "Alpha": float(pick(m, 0.01, 0.3, 1.7, 0, -0.4))},
              "SOFTMAX": {"options": "SoftmaxOptions", "Beta": float(pick(m, 1, 0.5, 2))},
              "GELU": {"options": "GeluOptions", "Approximate": some(m, 0, 1)}}.get(kind, {})
    y = m.map(m.tensors[x].shape[1:], scale=scale, zero_point=zero)
    return follow(m, x, m.op(kind, [x], y, **fields))


def rescaled(m, kind):
    """Return float or uint8 ends around changes of scale."""
    size = shape(m)
    dtypes = [pick(m, "float32", "int8", "uint8"), "int8", pick(m, "float32", "int8", "uint8")]
    numbers = []
    for dtype in dtypes:
        scale = float(np.exp(m.rng.uniform(-5, -1)))
        numbers.append(m.tensor((m.batch, *size), dtype, *(() if dtype == "float32" else (
            scale, some(m, 0, 255) - (128 if dtype == "int8" else 0)))))
    x, inner, y = numbers
    m.op("QUANTIZE", [x], inner)
    m.op("DEQUANTIZE" if dtypes[2] == "float32" else "QUANTIZE", [inner], y)
    return [x], [y, inner]


def resized(m, kind):
    x = m.map(shape(m, 3, 7))
    size = shape(m, 2, 15)
    y = m.map((*size, m.tensors[x].shape[3]), like=x)
    corners = some(m, 0, 1)
    table = "".join(word.capitalize() for word in kind.split("_")) + "Options"
    return follow(m, x, m.op(kind, [x, ints(m, *size)], y, table, AlignCorners=corners,
                             HalfPixelCenters=not corners and some(m, 0, 1)))


def sliced(m, kind):
    size = shape(m)
    x, axis = m.map(size), some(m, 1, len(size))
    new, length = list(size), size[axis - 1]
    named, = like_axes(m, size, [axis])
    match kind:
        case "SLICE":
            begin = [0, *(some(m, 0, n - 1) for n in size)]
            count = [m.batch, *(some(m, 1, n - b) for n, b in zip(size, begin[1:], strict=True))]
            y = m.op(kind, [x, ints(m, *begin), ints(m, *count)], m.map(count[1:], like=x),
                     "SliceOptions")
        case "STRIDED_SLICE":
            step = pick(m, 1, 2, -1, -2)
            bounds = [[0] * (len(size) + 1), [m.batch, *size], [1] * (len(size) + 1)]
            first, last = some(m, 0, length - 1), pick(m, length, -length - 1)
            bounds[0][axis], bounds[1][axis], bounds[2][axis] = first, last, step
            new[axis - 1] = len(range(first, length if last > 0 else -1, step))
            if not new[axis - 1]:
                return None
            y = m.op(kind, [x, *(ints(m, *bound) for bound in bounds)], m.map(new, like=x),
                     "StridedSliceOptions")
        case "GATHER":
            picked = m.rng.integers(0, length, some(m, 1, 5))
            new[axis - 1] = len(picked)
            y = m.op(kind, [x, ints(m, *picked)], m.map(new, like=x), "GatherOptions", Axis=named)
        case "TILE":
            counts = shape(m, len(size), 3)
            y = m.op(kind, [x, ints(m, 1, *counts)], m.map(np.multiply(size, counts), like=x))
        case "SPLIT":
            count = pick(m, *(n for n in range(1, length + 1) if length % n == 0))
            new[axis - 1] //= count
            return [x], m.op(kind, [m.constant(np.int32(named)), x], [
                m.map(new, like=x) for _ in range(count)], "SplitOptions", NumSplits=count)
    return follow(m, x, y)


def slopes(m, kind):
    size = shape(m)
    x = m.map(size)
    levels = m.rng.integers(-64, 64, pick(m, (1,), size[-1:])) * 2
    slope = m.constant(levels.astype(np.int8), scale=0.004, zero_point=pick(m, 0, -128))
    y = m.map(size, scale=m.tensors[x].scale[0] * float(m.rng.uniform(0.5, 1.5)))
    return [x], [m.op(kind, [x, slope], y)]


def blocks(m, kind):
    h, w, c, n = shape(m, 4, 3)
    small, large = (h, w, c * n * n), (h * n, w * n, c)
    table = "SpaceToDepthOptions" if kind == "SPACE_TO_DEPTH" else "DepthToSpaceOptions"
    source, result = (large, small) if kind == "SPACE_TO_DEPTH" else (small, large)
    x = m.map(source)
    return follow(m, x, m.op(kind, [x], m.map(result, like=x), table, BlockSize=n))


def follow(m, x, y):
    """Let nothing, a fully connected layer over all, or an operator of a map stand behind y."""
    size = m.tensors[y].shape[1:]
    match pick(m, "nothing", "dense", "pool", "add"):
        case "dense":
            flat = m.op("RESHAPE", [y, ints(m, m.batch, -1)], m.map((np.prod(size),), like=y),
                        "ReshapeOptions")
            weights = m.weights((4, int(np.prod(size))), 0)
            y = m.op("FULLY_CONNECTED", [flat, weights, m.bias(y, weights)], m.map((4,), scale=(
                spread(m, y, weights, 30))), "FullyConnectedOptions")
        case "pool" if len(size) == 3:
            options, new = sliding(m, size[:2], (1, 1), dilated=False)
            y = m.op(pick(m, "MAX_POOL_2D", "AVERAGE_POOL_2D"), [y], m.map((*new, size[2]), like=y),
                     "Pool2DOptions", FilterHeight=1, FilterWidth=1, **options)
        case "add":
            y = m.op("ADD", [y, y], m.map(size, scale=m.tensors[y].scale[0] * 2), "AddOptions")
    return [x], [y]


KINDS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), convolution),
    "TRANSPOSE_CONV": transposed, "FULLY_CONNECTED": dense,
    **dict.fromkeys(("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"), joint),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), pool),
    **dict.fromkeys(("MEAN", "REDUCE_MAX"), reduced),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), padded),
    "CONCATENATION": concatenation, "RESHAPE and its kin": rearranged,
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC",
                     "TANH", "SOFTMAX", "GELU"), function),
    "QUANTIZE and DEQUANTIZE": rescaled,
    **dict.fromkeys(("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"), resized),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "GATHER", "TILE", "SPLIT"), sliced),
    "PRELU": slopes, **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"), blocks),
}


def random_operator(kind, seed):
    """Return a model, its inputs and its outputs; None if the dice make no such operator."""
    rng = np.random.default_rng(seed)
    m = Model(rng, batch=int(rng.choice([1, 1, 1, 3])))
    found = KINDS[kind](m, kind)
    return found and (m, *found)
