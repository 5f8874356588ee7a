"""Relu, Clip, Add, BatchNormalization and Softmax."""

from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import AddDraft, Clamp, ConvDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import OFFSETS, binary_operator, unary_operator
from systolith.sw.importer.values import PADDING, Activation, State, Value
from systolith.sw.importer.weights import UNIT, real_bias
from systolith.sw.ir import HostStep

__all__ = ["HANDLERS"]


def relu(builder: Builder, node: Node) -> Value:
    """Import Relu: a lower bound of 0."""
    return _clamp(builder, node, 0.0, np.inf)


def clip(builder: Builder, node: Node) -> Value:
    """Import Clip, its bounds operands or (before opset 11) attributes."""
    bounds = []
    for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        value = node.attribute(name, default)
        if node.operand(index) is not None:
            value = node.constant(index, name).item()
        bounds.append(float(value))
    return _clamp(builder, node, *bounds)


def _clamp(builder: Builder, node: Node, low: float, high: float) -> Activation:
    x = node.activation()
    if x.state in (State.RAW, State.HOST):
        node.quantized()
    if low > high:
        node.refuse(f"its bounds {low:g} and {high:g} are reversed", "correct the model")
    zero_kept = low <= 0 <= high and x.state is not State.INTEGER
    if (x.elements == PADDING).any() and not zero_kept:
        node.refuse("it changes the zeros of the Pad before it", "put the Pad behind it")
    if x.state is State.INTEGER:
        offset = OFFSETS[x.dtype]
        clamp = Clamp(max(low + offset, -128), min(high + offset, 127), real=False)
    else:
        clamp = Clamp(low, high, real=True)
    return builder.clamp(node, x, clamp)


def add(builder: Builder, node: Node) -> Value:
    """Import Add: of two maps, or of a map and one number a channel."""
    a, b = node.inputs
    for x, other in ((a, b), (b, a)):
        if isinstance(x, Activation) and not isinstance(other, Activation):
            shift = _per_channel(builder, node, x, other.array)
            return _affine(builder, node, x, np.ones(shift.size), shift)
    a, b = node.quantized(0), node.quantized(1)
    slots = [builder.pin_naturally(node, x) for x in (a, b)]
    if a.shape != b.shape:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}",
                    "broadcasting between activations is not supported")
    places = [np.where(x.elements == PADDING, PADDING, slot.places[x.elements])
              for x, slot in zip((a, b), slots, strict=True)]
    if slots[0].shape != slots[1].shape or not np.array_equal(*places):
        node.refuse("its operands lie in memory in different orders",
                    "remove the Reshape, Transpose or Pad before one of them")
    draft = AddDraft(**builder.labels(node, slots[0].name, slots[1].name))
    return builder.add_draft(draft, slots[0].shape, 3).rearranged(places[0])


def batch_normalization(builder: Builder, node: Node) -> Value:
    """Import BatchNormalization: folded into the convolution before, or one of its own."""
    if node.attribute("training_mode", 0):
        node.refuse("it is in training mode", "export the model for inference")
    x = node.activation()
    scale, shift, mean, variance = (
        node.constant(i, what).astype(np.float64)
        for i, what in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")))
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    return _affine(builder, node, x, factor, shift - mean * factor)


def _affine(builder: Builder, node: Node, x: Activation, factor: np.ndarray,
            shift: np.ndarray) -> Activation:
    """Return ``factor * x + shift``, float64[c] each."""
    draft = builder.slot(x).draft
    if x.state is State.PENDING and isinstance(draft, ConvDraft) and (
            x.exclusive and not draft.clamps and factor.size == draft.scale.size):
        draft.scale_channels(factor, shift)
        return x
    node.quantized()
    slot = builder.pin_naturally(node, x)
    channels = slot.shape[2]
    if factor.size != channels:
        node.refuse(f"it has {factor.size} factors for {channels} channels", "correct the model")
    if (x.elements == PADDING).any():
        node.refuse("it changes the zeros of the Pad before it", "put the Pad behind it")
    zero = factor == 0
    scale = input_scale(builder, x) * np.where(zero, 1, np.abs(factor)) / UNIT
    weights = (np.sign(factor) * UNIT).astype(np.int8).reshape(channels, 1, 1, 1)
    draft = ConvDraft(**builder.labels(node, slot.name), weights=weights, scale=scale,
                      bias=real_bias(shift, scale), groups=channels, lift=True)
    return builder.add_draft(draft, slot.shape, 3).rearranged(slot.places[x.elements])


def _per_channel(builder: Builder, node: Node, x: Activation, numbers: np.ndarray) -> np.ndarray:
    """Return a constant that broadcasts against x as one number a channel, float64[c]."""
    slot = builder.pin_naturally(node, x)
    advice = "only one number for each channel can be added"
    try:
        full = np.broadcast_to(numbers, (1, *x.shape))[0].astype(np.float64)
    except ValueError:
        node.refuse(f"a constant of shape {numbers.shape} does not broadcast to {x.shape}", advice)
    inside = x.elements != PADDING
    channel = slot.places[x.elements[inside]] % slot.shape[2]
    shift = np.zeros(slot.shape[2])
    shift[channel] = full[inside]
    if not np.array_equal(shift[channel], full[inside]):
        node.refuse("its constant differs from pixel to pixel", advice)
    return shift


def softmax(builder: Builder, node: Node) -> Value:
    """Import Softmax, the host's work, at the end of the model."""
    x = node.quantized()
    rank = len(x.shape) + 1
    axis = node.attribute("axis", -1 if node.opset >= 13 else 1)
    axis = axis - rank if axis >= 0 else axis
    coerced = node.opset < 13 and int(np.prod(x.shape[axis:])) != x.shape[axis]
    if not -rank < axis < 0 or coerced:
        node.refuse("it runs over the batch or over several axes", "give it a single axis")
    steps = (HostStep(kind="dequantize"),
             HostStep(kind="softmax", attributes={"axis": axis}))
    return replace(x, state=State.HOST, steps=steps)


HANDLERS = {
    "Relu": relu,
    "Clip": clip,
    "Add": add,
    "BatchNormalization": batch_normalization,
    "Softmax": softmax,
    "QLinearAdd": binary_operator(add),
    "QLinearSoftmax": unary_operator(softmax),
}
