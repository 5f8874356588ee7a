"""ADD, SUB, RELU and its kin, SOFTMAX, QUANTIZE and DEQUANTIZE.

References
----------
``tensorflow/lite/kernels/{add,sub,activations,quantize,dequantize}.cc`` and
``tensorflow/lite/kernels/internal/reference/{integer_ops/add,sub,leaky_relu,requantize,quantize}.h``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder, Slot
from systolith.sw.importer.drafts import AddDraft, Clamp, ConvDraft, pass_through
from systolith.sw.importer.quantization import OFFSETS
from systolith.sw.importer.tflite.drafts import ScaledDraft
from systolith.sw.importer.tflite.layout import whole
from systolith.sw.importer.tflite.operation import Operation, activation_bounds, add_draft
from systolith.sw.importer.values import Activation, Quantization, State, Value
from systolith.sw.ir import HostStep
from systolith.sw.numerics import ADD_LEFT_SHIFT, quantize_multiplier, requantize

__all__ = ["HANDLERS"]

_FLOAT = ("convert the model with full integer quantisation to int8 (representative_dataset, "
          "TFLITE_BUILTINS_INT8)")


def add(builder: Builder, node: Operation) -> Value:
    """Import ADD of two feature maps of one shape."""
    a, b = (whole(builder, node, x) for x in _pair(node))
    return _sum(builder, node, a, b)


def subtract(builder: Builder, node: Operation) -> Value:
    """Import SUB: an ADD of the second operand's negative, which is exact in int8.

    ``~q`` with the zero point ``~z`` stands for ``-(q - z)``. TFLite negates after rescaling; that
    this makes no difference to the result is checked for all pairs of levels.
    """
    a, b = (whole(builder, node, x) for x in _pair(node))
    source = builder.slot(b).cell.value
    if not _negation_commutes(builder.slot(a).cell.value, source, node.quantization()):
        node.refuse("its second operand's scale rounds to other results when negated",
                    "quantise the model again")
    slot = builder.pin_naturally(node, b)
    draft = ConvDraft(**builder.labels(node, slot.name),
                      **pass_through(slot.shape[2], source.scale, sign=-1))
    negative = add_draft(builder, node, draft, slot.shape,
                         Quantization(source.scale, -1 - source.zero_point))
    return _sum(builder, node, a, _like(negative, slot, b))


def _negation_commutes(a: Quantization, b: Quantization, result: Quantization) -> bool:
    """Tell whether ``a - b`` and ``a + (-b)`` have the same rounded results."""
    twice = 2 * max(a.scale, b.scale)
    whole_sum = twice / (result.scale * (1 << ADD_LEFT_SHIFT))
    if whole_sum >= 1:
        return True  # the addition will be refused
    factors = [quantize_multiplier(factor) for factor in (
        a.scale / twice, b.scale / twice, whole_sum)]
    lifted = [(np.arange(-128, 128) - x.zero_point) << ADD_LEFT_SHIFT for x in (a, b)]
    left = requantize(lifted[0], *factors[0])[:, None]
    after, before = -requantize(lifted[1], *factors[1]), requantize(-lifted[1], *factors[1])
    return np.array_equal(requantize(left + after, *factors[2]),
                          requantize(left + before, *factors[2]))


def _pair(node: Operation) -> tuple[Activation, Activation]:
    for index in (0, 1):
        if not isinstance(node.operand(index), Activation):
            node.refuse(f"operand {index} is a constant", "constants can only be added by the "
                        "bias of a convolution or a fully connected layer")
    a, b = node.feature_map(0), node.feature_map(1)
    if a.shape != b.shape:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}",
                    "broadcasting between feature maps is not supported")
    return a, b


def _sum(builder: Builder, node: Operation, a: Activation, b: Activation) -> Activation:
    slots = [builder.pin_naturally(node, x) for x in (a, b)]
    places = [slot.places[x.elements] for x, slot in zip((a, b), slots, strict=True)]
    if slots[0].shape != slots[1].shape or not np.array_equal(*places):
        node.refuse("its operands lie in memory in different orders",
                    "remove the RESHAPE or TRANSPOSE before one of them")
    draft = AddDraft(**builder.labels(node, slots[0].name, slots[1].name), clamps=node.clamps())
    return _like(add_draft(builder, node, draft, slots[0].shape), slots[0], a)


def _like(result: Activation, slot: Slot, x: Activation) -> Activation:
    """Return a result that lies in memory as ``x`` does, in its order."""
    return result.rearranged(result.elements.ravel()[slot.places[x.elements]])


def rescale(builder: Builder, node: Operation, x: Activation, factor: float,
            clamps: list[Clamp]) -> Activation:
    """Return ``sat(requantize(q - z_x) + z_y)``, q rescaled by a factor."""
    slot = builder.pin_naturally(node, x)
    draft = ScaledDraft(**builder.labels(node, slot.name), clamps=clamps, factor=factor,
                        **pass_through(slot.shape[2], slot.cell.value.scale))
    return _like(add_draft(builder, node, draft, slot.shape), slot, x)


def _float_factor(source: Quantization, target: Quantization, slope: float = 1.0) -> float:
    """Return ``source.scale * slope / target.scale`` as float32 rounds it."""
    with np.errstate(over="ignore"):  # infinity is refused with the factor
        return float(np.float32(source.scale) * np.float32(slope) / np.float32(target.scale))


def bounded(low: float | None, high: float | None) -> Callable[[Builder, Operation], Value]:
    """Return the handler of an operator that saturates to real bounds.

    Where the scale stays it is a bound of the operator before, else an operation of its own.
    """
    def handler(builder: Builder, node: Operation) -> Value:
        x, target = whole(builder, node, node.feature_map()), node.quantization()
        source, clamps = builder.slot(x).cell.value, activation_bounds(target, low, high)
        if source != target:
            return rescale(builder, node, x, _float_factor(source, target), clamps)
        for clamp in clamps:
            x = builder.clamp(node, x, clamp)
        return x
    return handler


def leaky_relu(builder: Builder, node: Operation) -> Value:
    """Import LEAKY_RELU: the sum of its positive and its negative half, one of them always zero."""
    x, target = whole(builder, node, node.feature_map()), node.quantization()
    source, slope = builder.slot(x).cell.value, node.attribute("Alpha")
    if not 0 <= slope < np.inf:
        node.refuse(f"its slope is {slope:g}", "only slopes of 0 and above are supported")
    zero = target.zero_point
    halves = [
        rescale(builder, node, x, _float_factor(source, target), [Clamp(zero, 127, real=False)]),
        rescale(builder, node, x, _float_factor(source, target, slope),
                [Clamp(-128, zero, real=False)])]
    return _sum(builder, node, *halves)


def softmax(builder: Builder, node: Operation) -> Value:
    """Import SOFTMAX over the last axis, the host's work, at the end of the model."""
    x, target = node.feature_map(), node.quantization()
    step = HostStep(kind="softmax_int8", attributes={
        "beta": float(node.attribute("Beta")), "scale": target.scale,
        "zero_point": target.zero_point})
    return replace(x, state=State.HOST, steps=(*x.steps, step))


def quantize(builder: Builder, node: Operation) -> Value:
    """Import QUANTIZE: of a float input, or from one int8 scale (or uint8 input) to another."""
    x = node.operand(0)
    if not isinstance(x, Activation):
        node.refuse("it quantises a constant", _FLOAT)
    if x.state is State.RAW:
        target, cell = node.quantization(), builder.slot(x).cell
        if cell.value not in (None, target):
            node.refuse(f"model input {x.tensor!r} is quantised twice, with different scales",
                        "let all its readers share one QUANTIZE")
        cell.value = target
        return replace(x, state=State.INTEGER, dtype="int8")
    source, result = node.tensors[0], node.result
    if {source.dtype, result.dtype} == {"int8", "uint8"} and source.scale.size == 1 and (
            np.array_equal(source.scale, result.scale)
            and source.zero_point[0] + OFFSETS[source.dtype]
            == result.zero_point[0] + OFFSETS[result.dtype]):
        return replace(x, dtype=result.dtype)
    x, target = whole(builder, node, node.feature_map()), node.quantization()
    before = builder.slot(x).cell.value
    return x if before == target else rescale(builder, node, x, before.scale / target.scale, [])


def dequantize(builder: Builder, node: Operation) -> Value:
    """Import DEQUANTIZE, the host's work, at the end of the model."""
    x = node.operand(0)
    if not isinstance(x, Activation):
        node.refuse(f"it dequantises {node.tensors[0].dtype} weights", _FLOAT)
    if x.state is State.HOST and x.dtype == "int8":
        source = node.quantization_of(node.tensors[0])
        step = HostStep(kind="dequantize", attributes={
            "scale": source.scale, "zero_point": source.zero_point})
        return replace(x, dtype="float32", steps=(*x.steps, step))
    x = node.feature_map()
    return replace(x, state=State.REAL, dtype="float32")


HANDLERS = {
    "ADD": add,
    "SUB": subtract,
    "LEAKY_RELU": leaky_relu,
    "RELU": bounded(0.0, None),
    "RELU6": bounded(0.0, 6.0),
    "RELU_N1_TO_1": bounded(-1.0, 1.0),
    "SOFTMAX": softmax,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
}
