"""Random TFLite networks of operators that move, join, spread or scale maps."""

import numpy as np

from tests.tflite_check import spread, window
from tests.tflite_models import NONE, SAME, Model

__all__ = ["convolve", "ints", "random_model", "transpose_conv"]


def ints(m, *values):
    """Add an int32 constant, a list."""
    return m.constant(np.array(values, np.int32))


def transpose_conv(m, x, outputs, kernel, stride, padding, size=None, activation=NONE, bias=True,
                   per_channel=True):
    """Add a TRANSPOSE_CONV; its result has the smallest size there is, or another."""
    h, w, c = m.tensors[x].shape[1:]
    if size is None:
        size = [n * s if padding == SAME else (n - 1) * s + k
                for n, k, s in zip((h, w), kernel, stride, strict=True)]
    weights = m.weights((outputs, *kernel, c), 0, per_channel)
    y = m.map((*size, outputs), scale=spread(m, x, weights, np.prod(kernel) * c))
    operands = [ints(m, m.batch, *size, outputs), weights, x]
    operands += [m.bias(x, weights)] if bias else []
    return m.op("TRANSPOSE_CONV", operands, y, "TransposeConvOptions", Padding=padding,
                StrideH=stride[0], StrideW=stride[1], FusedActivationFunction=activation)


def convolve(m, x, outputs, size=3):
    """Add a convolution of stride 1."""
    h, w, c = m.tensors[x].shape[1:]
    weights = m.weights((outputs, size, size, c), 0)
    y = m.tensor((1, h, w, outputs), scale=spread(m, x, weights, size * size * c),
                 zero_point=int(m.rng.integers(-128, 128)))
    return m.op("CONV_2D", [x, weights, m.bias(x, weights)], y, "Conv2DOptions",
                FusedActivationFunction=int(m.rng.integers(4)), **window(Padding=SAME))


def up(m, x):
    """Add an upsampling by 2: either kind."""
    h, w, c = m.tensors[x].shape[1:]
    if m.rng.integers(2):
        return transpose_conv(m, x, c, (3, 3), (2, 2), SAME)
    y = m.map((2 * h, 2 * w, c), like=x)
    return m.op("RESIZE_NEAREST_NEIGHBOR", [x, ints(m, 2 * h, 2 * w)], y,
                "ResizeNearestNeighborOptions", HalfPixelCenters=bool(m.rng.integers(2)))


def skip(m, x):
    """Add a pooling, an upsampling and the join with what was before: a step of a U-Net."""
    h, w, c = m.tensors[x].shape[1:]
    p = m.map((h // 2, w // 2, c), like=x)
    m.op("MAX_POOL_2D", [x], p, "Pool2DOptions", FilterHeight=2, FilterWidth=2,
         **window(StrideH=2, StrideW=2))
    z = up(m, convolve(m, p, c))
    same = m.map((h // 2 * 2, w // 2 * 2, c), like=x)
    m.op("QUANTIZE", [z], same)
    cut = m.map((h // 2 * 2, w // 2 * 2, c), like=x)
    m.op("SLICE", [x, ints(m, 0, 0, 0, 0), ints(m, 1, h // 2 * 2, w // 2 * 2, c)], cut,
         "SliceOptions")
    y = m.map((h // 2 * 2, w // 2 * 2, 2 * c), like=x)
    return m.op("CONCATENATION", [cut, same], y, "ConcatenationOptions", Axis=3)


def halves(m, x):
    """Add a split of the channels, one half convolved, the halves joined: a step of a CSP net."""
    h, w, c = m.tensors[x].shape[1:]
    if c % 2:
        x = convolve(m, x, c + 1, 1)
        c += 1
    a, b = (m.map((h, w, c // 2), like=x) for _ in range(2))
    m.op("SPLIT", [m.constant(np.int32(3)), x], [a, b], "SplitOptions", NumSplits=2)
    z = m.map((h, w, c // 2), like=x)
    m.op("QUANTIZE", [convolve(m, b, c // 2)], z)
    y = m.map((h, w, c), like=x)
    return m.op("CONCATENATION", [z, a], y, "ConcatenationOptions", Axis=-1)


def slopes(m, x):
    """Add a PRELU."""
    h, w, c = m.tensors[x].shape[1:]
    constant = m.constant(m.rng.integers(-127, 128, (1, 1, c)).astype(np.int8), scale=0.01)
    y = m.map((h, w, c), scale=m.tensors[x].scale[0] * 0.9)
    return m.op("PRELU", [x, constant], y)


def gate(m, x):
    """Add the mean of the map to every pixel, and a product with constants."""
    h, w, c = m.tensors[x].shape[1:]
    mean = m.map((1, 1, c), like=x)
    m.op("MEAN", [x, ints(m, 1, 2)], mean, "ReducerOptions", KeepDims=True)
    z = m.map((h, w, c), scale=m.tensors[x].scale[0] * 1.5)
    m.op("ADD", [x, mean], z, "AddOptions")
    constant = m.constant(m.rng.integers(-127, 128, c).astype(np.int8), scale=0.02)
    y = m.map((h, w, c), scale=m.tensors[z].scale[0] * 1.2)
    return m.op("MUL", [z, constant], y, "MulOptions")


BLOCKS = [skip, halves, slopes, gate, convolve, skip]


def random_model(seed):
    """Return a network of two or three blocks, its inputs and its outputs; every third is float."""
    m = Model(np.random.default_rng(seed))
    x = m.map([int(n) for n in m.rng.integers((4, 4, 1), (11, 11, 5))])
    if seed % 3 == 0:              # float outside, int8 inside
        x = m.tensor(m.tensors[x].shape, "float32")
        z = m.map(m.tensors[x].shape[1:])
        m.op("QUANTIZE", [x], z)
    else:
        z = x
    for _ in range(int(m.rng.integers(2, 4))):
        block = BLOCKS[m.rng.integers(len(BLOCKS))]
        z = block(m, z, 4) if block is convolve else block(m, z)
    outputs = [z]
    if seed % 3 == 0:
        outputs = [m.tensor(m.tensors[z].shape, "float32")]
        m.op("DEQUANTIZE", [z], outputs[0])
    return m, [x], outputs
