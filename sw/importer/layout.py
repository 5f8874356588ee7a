"""Nodes that only move or rename elements, and constants' own nodes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import (
    HOSTED,
    PADDING,
    Activation,
    Constant,
    QuantizedConstant,
    State,
    Value,
)

__all__ = ["HANDLERS"]

_BATCH = "the batch must stay the first dimension"


def layout(arrange: Callable[[Builder, Node, np.ndarray], np.ndarray]
           ) -> Callable[[Builder, Node], Value]:
    """Return the handler of a node that rearranges ``elements``, batchless int64[...]."""
    def handler(builder: Builder, node: Node) -> Value:
        x = node.activation()
        if x.state is State.HOST:
            node.quantized()
        return x.rearranged(arrange(builder, node, x.elements))
    return handler


def flatten(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Flatten all but the batch."""
    axis = node.attribute("axis", 1)
    if axis not in (1, -elements.ndim):
        node.refuse(f"it flattens at axis {axis}", _BATCH + ": set axis=1")
    return elements.ravel()


def reshape(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Reshape, -1 and 0 resolved as ONNX does."""
    target = [int(n) for n in node.constant(1, "shape")]
    source = (builder.batch, *elements.shape)
    if not node.attribute("allowzero", 0):
        target = [source[i] if n == 0 and i < len(source) else n for i, n in enumerate(target)]
    size = builder.batch * elements.size
    known = int(np.prod([n for n in target if n != -1], dtype=np.int64))
    if target.count(-1) > 1 or known <= 0 or size % known or (-1 not in target and known != size):
        node.refuse(f"{list(source)} does not reshape to {target}", "correct the model")
    target = [size // known if n == -1 else n for n in target]
    if target[0] != builder.batch:
        node.refuse(f"it reshapes {list(source)} to {target}", _BATCH)
    return elements.reshape(target[1:])


def transpose(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Transpose, the batch kept first."""
    rank = elements.ndim + 1
    order = node.attribute("perm", list(reversed(range(rank))))
    if sorted(order) != list(range(rank)) or order[0] != 0:
        node.refuse(f"it permutes the axes to {list(order)}", _BATCH)
    return elements.transpose([axis - 1 for axis in order[1:]])


def squeeze(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Remove axes of length 1."""
    rank = elements.ndim + 1
    axes = node.integers(1, "axes", "list of axes")
    if axes is None:
        node.refuse("it names no axes and would remove a batch of 1 too", "give it axes")
    axes = [axis % rank for axis in axes]
    if 0 in axes or any(elements.shape[axis - 1] != 1 for axis in axes):
        node.refuse(f"it removes the axes {axes} of {['n', *elements.shape]}",
                    _BATCH + " and only axes of length 1 can go")
    return elements.squeeze(tuple(axis - 1 for axis in axes))


def unsqueeze(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Insert axes of length 1."""
    axes = node.integers(1, "axes", "list of axes") or []
    rank = elements.ndim + 1 + len(axes)
    axes = [axis % rank for axis in axes]
    if 0 in axes or len(set(axes)) != len(axes):
        node.refuse(f"it inserts the axes {axes}", _BATCH)
    return np.expand_dims(elements, [axis - 1 for axis in axes])


def pad(builder: Builder, node: Node) -> Value:
    """Import Pad: zeros (the zero point, on integers) are taken over by the next node."""
    x = node.activation()
    mode = node.attribute("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        node.refuse(f"its mode is {mode!r}", "ONNX knows constant, reflect, edge and wrap")
    amounts = node.integers(1, "pads", "list of pads") or []
    axes = list(range(len(x.shape) + 1))
    if node.operand(3) is not None:
        axes = [axis % len(axes) for axis in node.integers(3, "axes", "list of axes")]
    widths = np.zeros((len(x.shape) + 1, 2), np.int64)
    if len(amounts) != 2 * len(axes):
        node.refuse(f"it has {len(amounts)} pads for {len(axes)} axes", "correct the model")
    widths[axes] = np.reshape(amounts, (2, -1)).T
    if widths[0].any():
        node.refuse("it pads the batch", _BATCH)
    cut = np.maximum(-widths[1:], 0)
    kept = x.elements[tuple(slice(begin, length - end) for (begin, end), length in zip(
        cut, x.shape, strict=True))]
    widths = np.maximum(widths[1:], 0)
    if not kept.size or (mode == "reflect" and (widths >= np.transpose([kept.shape])).any()):
        node.refuse("it cuts off or reflects more elements than there are", "correct the model")
    if mode != "constant":
        if x.state is State.HOST:
            node.quantized()
        return x.rearranged(np.pad(kept, widths, mode=mode))
    if widths.any():
        _check_zero(builder, node, x)
    return x.rearranged(np.pad(kept, widths, constant_values=PADDING))


def _check_zero(builder: Builder, node: Node, x: Activation) -> None:
    value = node.operand(2)
    number = 0 if value is None else node.number(2, "padding value")
    zero = 0
    if x.state is State.INTEGER:
        known = builder.slot(x).cell.value
        if known is None:
            node.refuse("it pads integers whose zero point is not known yet",
                        "put the Pad behind the first quantised operator")
        zero = known.zero_point + (128 if x.dtype == "uint8" else 0)
    if number != zero or x.state in HOSTED:
        node.refuse(f"it pads with {number:g}", f"only padding with {zero} (real zero) is free")


def identity(builder: Builder, node: Node) -> Value:
    """Import Identity, and Dropout, which inference passes through."""
    if node.op == "Dropout" and node.operand(2) is not None and node.constant(
            2, "training mode").any():
        node.refuse("it is in training mode", "export the model for inference")
    return node.inputs[0]


def shape(builder: Builder, node: Node) -> Value:
    """Import Shape: the model's sizes are constants, a symbolic batch counts as 1."""
    whole = (builder.batch, *node.activation().shape)
    sizes = whole[node.attribute("start", 0):node.attribute("end", len(whole))]
    return Constant(np.array(sizes, np.int64))


def transpose_weights(value: QuantizedConstant, order: list[int] | None) -> QuantizedConstant:
    """Return quantised weights with their axes permuted (reversed without an order)."""
    order = order or list(reversed(range(value.levels.ndim)))
    axis = order.index(value.axis) if value.scale.size > 1 else value.axis
    return replace(value, levels=value.levels.transpose(order), axis=axis)


HANDLERS = {
    "Flatten": layout(flatten),
    "Reshape": layout(reshape),
    "Transpose": layout(transpose),
    "Squeeze": layout(squeeze),
    "Unsqueeze": layout(unsqueeze),
    "Pad": pad,
    "Identity": identity,
    "Dropout": identity,
    "Shape": shape,
}
