"""Weights and biases of a node, as the integers the array multiplies with."""

import numpy as np

from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Activation, QuantizedConstant, Value

__all__ = ["UNIT", "channel_scales", "integer_bias", "integer_weights", "real_bias"]

#: Weight that stands for 1 where an operation has none of its own: the larger, the finer is a bias
#: and the less is lost to the first of the two roundings.
UNIT = 127


_WEIGHTS = ("quantise the weights to int8, symmetric, as onnxruntime.quantization does with "
            "weight_type=QInt8 and WeightSymmetric")


def integer_weights(node: Node, index: int) -> QuantizedConstant:
    """Return an operand as symmetric int8 weights: ``real = scale * levels``.

    Weights around a zero point are taken where none is more than 8 bits away from it, as uint8
    ones around 128.
    """
    value = node.operand(index)
    if not isinstance(value, QuantizedConstant):
        node.refuse("its weights are not quantised constants", _WEIGHTS)
    levels, zeros = value.levels, value.zero_point.astype(np.int64)
    if levels.dtype.name not in ("int8", "uint8"):
        node.refuse(f"its weights are {levels.dtype}", _WEIGHTS)
    shape = [1] * levels.ndim
    if zeros.size > 1:
        shape[value.axis] = -1
    levels = levels.astype(np.int64) - zeros.reshape(shape)
    if levels.max(initial=0) > 127 or levels.min(initial=0) < -128:
        node.refuse("its weights have a zero point", _WEIGHTS)
    return QuantizedConstant(levels.astype(np.int8), value.scale, 0 * zeros, value.axis)


def channel_scales(node: Node, weights: QuantizedConstant, axis: int) -> np.ndarray:
    """Return the weight scale of every output channel, float64[o]; ``axis`` is theirs."""
    channels = weights.levels.shape[axis]
    if weights.scale.size == 1:
        return np.full(channels, weights.scale[0])
    if weights.axis != axis or weights.scale.size != channels:
        node.refuse(f"its weights have {weights.scale.size} scales along axis {weights.axis}, "
                    "not one for each output channel", _WEIGHTS)
    return weights.scale


def integer_bias(node: Node, value: Value | None, scale: np.ndarray) -> np.ndarray:
    """Return a bias in units of the accumulator, int64[o].

    Parameters
    ----------
    node : Node
        Whose bias it is.
    value : Value or None
        int32 with a scale, or float, of o elements or one.
    scale : float64[o]
        Real value of one accumulator unit.
    """
    if value is None:
        return np.zeros(scale.size, np.int64)
    if isinstance(value, Activation):
        node.refuse("its bias is not a constant", "fold it into the model's initializers")
    if value.array.size not in (1, scale.size):
        node.refuse(f"its bias has {value.array.size} elements for {scale.size} channels",
                    "correct the model")
    if isinstance(value, QuantizedConstant) and not value.zero_point.any() and np.allclose(
            value.scale, scale, rtol=1e-5, atol=0):
        return np.broadcast_to(value.levels.astype(np.int64).ravel(), scale.shape)
    return real_bias(np.broadcast_to(value.array.astype(np.float64).ravel(), scale.shape), scale)


def real_bias(bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return float64[o] as integers of ``scale``; what leaves 32 bits is refused later."""
    limit = 1 << 32
    return np.rint(np.clip(bias / scale, -limit, limit)).astype(np.int64)
