"""Blocks of TFLite networks that the host has a part in: gates, hard swish, MobileNetV3."""

import numpy as np

from tests.tflite_check import spread, window
from tests.tflite_models import NONE, RELU, RELU6, SAME, Model
from tests.tflite_networks import convolve, ints

__all__ = ["activation", "block", "gate", "product", "random_model"]


def activation(m, kind, x):
    """Add LOGISTIC, TANH or HARD_SWISH, its result's scale the kernel's or one that suits."""
    scale, zero_point = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(
        kind, (m.tensors[x].scale[0] * float(m.rng.uniform(0.5, 1)), None))
    return m.op(kind, [x], m.map(m.tensors[x].shape[1:], scale=scale, zero_point=zero_point))


def product(m, a, b, fused=NONE):
    """Add a MUL of two maps; unless they are huge its results use the whole range."""
    shape = np.broadcast_shapes(m.tensors[a].shape, m.tensors[b].shape)
    scale = float(m.tensors[a].scale[0] * m.tensors[b].scale[0] * m.rng.uniform(30, 150))
    y = m.map(shape[1:], scale=min(scale, 1.0))
    return m.op("MUL", [a, b], y, "MulOptions", FusedActivationFunction=fused)


def depthwise(m, x, stride):
    """Add a depthwise convolution of 3 x 3."""
    h, w, c = m.tensors[x].shape[1:]
    weights = m.weights((1, 3, 3, c), 3)
    y = m.tensor((1, -(-h // stride), -(-w // stride), c), scale=spread(m, x, weights, 9),
                 zero_point=int(m.rng.integers(-128, 128)))
    return m.op("DEPTHWISE_CONV_2D", [x, weights, m.bias(x, weights)], y,
                "DepthwiseConv2DOptions", DepthMultiplier=1, FusedActivationFunction=NONE,
                **window(Padding=SAME, StrideH=stride, StrideW=stride))


def dense(m, x, outputs, fused):
    """Add a fully connected layer."""
    depth = m.tensors[x].shape[-1]
    weights = m.weights((outputs, depth), 0)
    y = m.tensor((1, outputs), scale=spread(m, x, weights, depth), zero_point=-20)
    return m.op("FULLY_CONNECTED", [x, weights, m.bias(x, weights)], y, "FullyConnectedOptions",
                FusedActivationFunction=fused)


def hard_sigmoid(m, x):
    """Add ``relu6(x + 3) / 6``, as converters spell it."""
    shape = m.tensors[x].shape[1:]
    three = m.constant(np.array([127], np.int8), scale=3 / 127)
    y = m.map(shape, scale=6 / 255, zero_point=-128)
    m.op("ADD", [x, three], y, "AddOptions", FusedActivationFunction=RELU6)
    sixth = m.constant(np.array([127], np.int8), scale=1 / 6 / 127)
    return m.op("MUL", [y, sixth], m.map(shape, scale=1 / 256, zero_point=-128), "MulOptions")


def gate(m, x, fully_connected=False, sigmoid="LOGISTIC"):
    """Add a squeeze-and-excite: every channel scaled by what the mean of the map says."""
    c = m.tensors[x].shape[3]
    inner = max(1, c // 4)
    if fully_connected:
        mean = m.map((c,), scale=m.tensors[x].scale[0] * 0.5)
        m.op("MEAN", [x, ints(m, 1, 2)], mean, "ReducerOptions", KeepDims=False)
        z = dense(m, dense(m, mean, inner, RELU), c, NONE)
    else:
        mean = m.map((1, 1, c), scale=m.tensors[x].scale[0] * 0.5)
        m.op("MEAN", [x, ints(m, 1, 2)], mean, "ReducerOptions", KeepDims=True)
        z = convolve(m, convolve(m, mean, inner, 1), c, 1)
    z = hard_sigmoid(m, z) if sigmoid == "HARD" else activation(m, sigmoid, z)
    if fully_connected:
        y = m.map((1, 1, c), like=z)
        z = m.op("RESHAPE", [z, ints(m, 1, 1, 1, c)], y)
    return product(m, x, z)


def block(m, x):
    """Add an inverted residual of MobileNetV3, with hard swish and squeeze-and-excite."""
    c = m.tensors[x].shape[3]
    y = activation(m, "HARD_SWISH", convolve(m, x, 3 * c, 1))
    y = activation(m, "HARD_SWISH", depthwise(m, y, 1))
    y = convolve(m, gate(m, y, sigmoid="HARD"), c, 1)
    z = m.map(m.tensors[x].shape[1:], scale=max(m.tensors[i].scale[0] for i in (x, y)) * 1.3)
    return m.op("ADD", [x, y], z, "AddOptions")


def random_model(seed):
    """Return a network of three to six blocks, its inputs and its outputs; every third is float."""
    m = Model(np.random.default_rng(seed))
    x = z = m.map([int(n) for n in m.rng.integers((4, 4, 1), (9, 9, 6))])
    if seed % 3 == 0:              # float outside, int8 inside
        x = m.tensor(m.tensors[x].shape, "float32")
        m.op("QUANTIZE", [x], z)
    for _ in range(int(m.rng.integers(3, 7))):
        match m.rng.integers(6):
            case 0:
                z = activation(m, str(m.rng.choice(["LOGISTIC", "TANH", "HARD_SWISH"])), z)
            case 1:
                z = gate(m, z, sigmoid=str(m.rng.choice(["HARD", "LOGISTIC"])))
            case 2:
                z = product(m, z, convolve(m, z, m.tensors[z].shape[3]), int(m.rng.integers(4)))
            case 3:
                z = depthwise(m, z, int(m.rng.integers(1, 3)))
            case 4:
                z = product(m, convolve(m, z, 1), z)
            case _:
                z = convolve(m, z, int(m.rng.integers(1, 9)))
    outputs = [z]
    if seed % 3 == 0:
        outputs = [m.tensor(m.tensors[z].shape, "float32")]
        m.op("DEQUANTIZE", [z], outputs[0])
    return m, [x], outputs
