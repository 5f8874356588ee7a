"""Add, Sub, Mul, Div and BatchNormalization."""

from collections.abc import Sequence

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import AddDraft, Clamp, ConvDraft, pass_through
from systolith.sw.importer.hosting import product
from systolith.sw.importer.node import Node
from systolith.sw.importer.preparation import prepared
from systolith.sw.importer.quantization import binary_operator
from systolith.sw.importer.values import (
    PADDING,
    UNQUANTIZED,
    Activation,
    Cell,
    Quantization,
    State,
    Value,
)
from systolith.sw.importer.weights import UNIT, real_bias

__all__ = ["HANDLERS", "per_channel", "scaled"]


def add(builder: Builder, node: Node) -> Value:
    """Import Add: of two maps, or of a map and one number a channel."""
    x, number, _ = _operands(node)
    if number is not None and x.state in UNQUANTIZED:
        return prepared(builder, node, x, "add", number)
    if number is not None:
        return _affine(builder, node, x, np.ones(1), number)
    return _sum(builder, node, *_pair(builder, node))


def subtract(builder: Builder, node: Node) -> Value:
    """Import Sub: of two maps, the second negated first, or with one number a channel."""
    x, number, swapped = _operands(node)
    if number is not None and x.state in UNQUANTIZED:
        x = prepared(builder, node, x, "subtract", number)
        return prepared(builder, node, x, "neg") if swapped else x
    if number is not None:
        return _affine(builder, node, x, -np.ones(1), number) if swapped else _affine(
            builder, node, x, np.ones(1), -number)
    a, b = _pair(builder, node)
    slot = builder.pin_naturally(node, b)
    known = slot.cell.value
    draft = ConvDraft(**builder.labels(node, slot.name),
                      **pass_through(slot.shape[2], known.scale, sign=-1))
    negative = builder.add_draft(draft, slot.shape, 3)
    # exactly: ~q is -q - 1
    builder.slot(negative).cell = Cell(Quantization(known.scale, -1 - known.zero_point))
    return _sum(builder, node, a, negative.rearranged(slot.places[b.elements]))


def multiply(builder: Builder, node: Node) -> Value:
    """Import Mul with one number a channel, or of two maps, on the host."""
    x, number, _ = _operands(node)
    if number is None:
        return product(builder, node)
    if x.state in UNQUANTIZED:
        return prepared(builder, node, x, "multiply", number)
    return _affine(builder, node, x, number, np.zeros(1))


def divide(builder: Builder, node: Node) -> Value:
    """Import Div by one number a channel."""
    x, number, swapped = _operands(node)
    if number is None or swapped or not number.all():
        node.refuse("it divides by a feature map or by zero", "only constants other than zero can "
                    "divide: cut the model there")
    if x.state in UNQUANTIZED:
        return prepared(builder, node, x, "divide", number)
    return _affine(builder, node, x, 1 / number, np.zeros(1))


def _operands(node: Node) -> tuple[Activation, np.ndarray | None, bool]:
    """Return a map, the constant beside it if one is, and whether that comes first."""
    a, b = node.inputs
    if isinstance(a, Activation) and isinstance(b, Activation):
        return a, None, False
    swapped = not isinstance(a, Activation)
    x, constant = (b, a) if swapped else (a, b)
    return x, constant.array.astype(np.float64), swapped


def _pair(builder: Builder, node: Node) -> list[Activation]:
    """Return two maps of one shape, the smaller repeated where it is broadcast."""
    a, b = node.quantized(0), node.quantized(1)
    advice = "maps of the same number of dimensions can be added where axes agree or are 1"
    if len(a.shape) != len(b.shape):
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    return [builder.whole(node, x.rearranged(np.broadcast_to(x.elements, shape)))
            for x in (a, b)]


def _sum(builder: Builder, node: Node, a: Activation, b: Activation) -> Activation:
    a, b = builder.aligned(node, a, b)
    slot = builder.slot(a)
    draft = AddDraft(**builder.labels(node, a.tensor, b.tensor))
    return builder.add_draft(draft, slot.shape, 3).rearranged(slot.places[a.elements])


def batch_normalization(builder: Builder, node: Node) -> Value:
    """Import BatchNormalization: folded into the convolution before, or one of its own."""
    if node.attribute("training_mode", 0):
        node.refuse("it is in training mode", "export the model for inference")
    x = node.activation()
    scale, shift, mean, variance = (
        node.constant(i, what).astype(np.float64)
        for i, what in ((1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")))
    sizes = {array.size for array in (scale, shift, mean, variance)}
    if sizes != set(x.shape[:1]):
        node.refuse(f"it has {sorted(sizes)} factors for an input of {x.shape}",
                    "correct the model")
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    axes = (-1, *[1] * (len(x.shape) - 1))
    factor, shift = factor.reshape(axes), (shift - mean * factor).reshape(axes)
    if x.state in UNQUANTIZED:
        return prepared(builder, node, prepared(builder, node, x, "multiply", factor), "add", shift)
    return _affine(builder, node, x, factor, shift)


def _affine(builder: Builder, node: Node, x: Activation, factor: np.ndarray,
            shift: np.ndarray) -> Activation:
    """Return ``factor * x + shift``, constants that broadcast to one number a channel."""
    draft = builder.slot(x).draft
    folds = x.state is State.PENDING and isinstance(draft, ConvDraft) and (
        x.exclusive and not draft.clamps and not (x.elements == PADDING).any())
    if not folds:
        x = builder.whole(node, node.on(x).quantized())
    factor, shift = (per_channel(builder, node, x, numbers) for numbers in (factor, shift))
    if folds:
        draft.scale_channels(factor, shift)
        draft.absorbed.append(node.name)
        return x
    return scaled(builder, node, x, factor, shift)


def scaled(builder: Builder, node: Node, x: Activation, factor: np.ndarray, shift: np.ndarray,
           clamps: Sequence[Clamp] = (), like: Activation | None = None) -> Activation:
    """Return ``factor * x + shift`` of a whole map, float64[c] each, as an operation.

    ``like``: see :meth:`Builder.add_draft`.
    """
    slot = builder.pin_naturally(node, x)
    zero = factor == 0
    scale = input_scale(builder, x) * np.where(zero, 1, np.abs(factor)) / UNIT
    weights = (np.sign(factor) * UNIT).astype(np.int8).reshape(-1, 1, 1, 1)
    draft = ConvDraft(**builder.labels(node, slot.name), weights=weights, scale=scale,
                      bias=real_bias(shift, scale), groups=factor.size, lift=True,
                      clamps=list(clamps))
    return builder.add_draft(draft, slot.shape, 3, like).rearranged(slot.places[x.elements])


def per_channel(builder: Builder, node: Node, x: Activation, numbers: np.ndarray) -> np.ndarray:
    """Return a constant that broadcasts against x as one number a channel, float64[c]."""
    slot = builder.pin_naturally(node, x)
    advice = "a constant may have only one number for each channel"
    try:
        full = np.broadcast_to(numbers, (1, *x.shape))[0].astype(np.float64)
    except ValueError:
        node.refuse(f"a constant of shape {numbers.shape} does not broadcast to {x.shape}", advice)
    channel = slot.places[x.elements] % slot.shape[2]
    values = np.zeros(slot.shape[2])
    values[channel] = full
    if not np.array_equal(values[channel], full):
        node.refuse("its constant differs from pixel to pixel", advice)
    return values


HANDLERS = {
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "BatchNormalization": batch_normalization,
    "QLinearAdd": binary_operator(add),
    "QLinearMul": binary_operator(multiply),
}
