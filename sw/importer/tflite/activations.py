"""RELU and its kin, LEAKY_RELU, PRELU and SOFTMAX.

References
----------
``tensorflow/lite/kernels/activations.cc`` and
``tensorflow/lite/kernels/internal/reference/{requantize,leaky_relu,prelu}.h``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import Clamp, pass_through
from systolith.sw.importer.tflite.drafts import ScaledDraft
from systolith.sw.importer.tflite.elementwise import add_maps, as_read, product
from systolith.sw.importer.tflite.operation import Operation, activation_bounds, add_draft
from systolith.sw.importer.values import Activation, Quantization, State, Value
from systolith.sw.ir import HostStep
from systolith.sw.softmax import LONGEST

__all__ = ["HANDLERS", "rescale"]


def rescale(builder: Builder, node: Operation, x: Activation, factor: float,
            clamps: list[Clamp], sign: int = 1) -> Activation:
    """Return ``sat(requantize(sign * (q - z_x)) + z_y)``, q rescaled by a factor."""
    slot = builder.pin_naturally(node, x)
    draft = ScaledDraft(**builder.labels(node, slot.name), clamps=clamps, factor=factor,
                        **pass_through(slot.shape[2], slot.cell.value.scale, sign))
    return as_read(add_draft(builder, node, draft, slot.shape), slot, x)


def _float_factor(source: Quantization, target: Quantization, slope: float = 1.0) -> float:
    """Return ``source.scale * slope / target.scale`` as float32 rounds it."""
    with np.errstate(over="ignore"):  # infinity is refused with the factor
        return float(np.float32(source.scale) * np.float32(slope) / np.float32(target.scale))


def bounded(low: float | None, high: float | None) -> Callable[[Builder, Operation], Value]:
    """Return the handler of an operator that saturates to real bounds.

    Where the scale stays it is a bound of the operator before, else an operation of its own.
    """
    def handler(builder: Builder, node: Operation) -> Value:
        x, target = builder.whole(node, node.feature_map()), node.quantization()
        source, clamps = builder.slot(x).cell.value, activation_bounds(target, low, high)
        if source != target:
            return rescale(builder, node, x, _float_factor(source, target), clamps)
        for clamp in clamps:
            x = builder.clamp(node, x, clamp)
        return x
    return handler


def leaky_relu(builder: Builder, node: Operation) -> Value:
    """Import LEAKY_RELU: the sum of its positive and its negative half, one of them always zero."""
    x, target = builder.whole(node, node.feature_map()), node.quantization()
    source, slope = builder.slot(x).cell.value, node.attribute("Alpha")
    if not abs(slope) < np.inf:
        node.refuse(f"its slope is {slope:g}", "correct the model")
    factor = _float_factor(source, target, abs(slope))
    if slope < 0:
        negative = rescale(builder, node, _below(builder, node, x), factor, [], sign=-1)
    else:
        negative = rescale(builder, node, x, factor, [Clamp(-128, target.zero_point, real=False)])
    return add_maps(builder, node, _above(builder, node, x), negative)


def p_relu(builder: Builder, node: Operation) -> Value:
    """Import PRELU: as LEAKY_RELU with a slope for each channel."""
    x, zero = builder.whole(node, node.feature_map()), node.quantization().zero_point
    slopes = node.tensors[1] if len(node.tensors) > 1 else None
    if slopes is None or slopes.data is None:
        node.refuse("its slopes are no constant", "only constant slopes can be loaded")
    node.quantization_of(slopes)
    if (slopes.data >= slopes.zero_point).all():
        negative = product(builder, node, x, 1, [Clamp(-128, zero, real=False)])
    else:  # what a negative slope makes has no sign to be told by
        negative = product(builder, node, _below(builder, node, x), 1, [])
    return add_maps(builder, node, _above(builder, node, x), negative)


def _above(builder: Builder, node: Operation, x: Activation) -> Activation:
    """Return the positive half of x on the result's scale, zero elsewhere."""
    source, target = builder.slot(x).cell.value, node.quantization()
    return rescale(builder, node, x, _float_factor(source, target),
                   [Clamp(target.zero_point, 127, real=False)])


def _below(builder: Builder, node: Operation, x: Activation) -> Activation:
    """Return the negative half of x on its own scale, zero elsewhere."""
    zero = builder.slot(x).cell.value.zero_point
    return builder.unary(node, x, "max", clamps=[Clamp(-128, zero, real=False)], like=x)


def softmax(builder: Builder, node: Operation) -> Value:
    """Import SOFTMAX over the last axis, the host's work, at the end of the model."""
    x, target, beta = node.feature_map(), node.quantization(), float(node.attribute("Beta"))
    if target.zero_point != -128 or abs(256 * target.scale - 1) > 1e-3:
        node.refuse(f"its result has the scale {target.scale:g} around {target.zero_point}",
                    "TFLite's kernel writes 1/256 around -128: convert the model again")
    if not x.shape:
        node.refuse("it runs over the batch", "the batch must stay the first dimension")
    if x.shape[-1] > LONGEST or not 2 ** -26 < beta * builder.slot(x).cell.value.scale < np.inf:
        node.refuse(f"it sums {x.shape[-1]} powers, beta is {beta:g}", f"TFLite's kernel sums up "
                    f"to {LONGEST}, of a scale that is not vanishing: correct the model")
    step = HostStep(kind="softmax_int8", attributes={"beta": beta})
    return replace(x, state=State.HOST, steps=(*x.steps, step))


HANDLERS = {
    "RELU": bounded(0.0, None),
    "RELU6": bounded(0.0, 6.0),
    "RELU_N1_TO_1": bounded(-1.0, 1.0),
    "LEAKY_RELU": leaky_relu,
    "PRELU": p_relu,
    "SOFTMAX": softmax,
}
