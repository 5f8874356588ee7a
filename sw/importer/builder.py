"""The graph while it is being read: feature maps, their order in memory, and operation drafts."""

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from systolith.sw.errors import Refusal
from systolith.sw.importer.drafts import Clamp, Draft, PoolDraft, SelectDraft
from systolith.sw.importer.node import Node, RefusedError
from systolith.sw.importer.separation import separate
from systolith.sw.importer.values import PADDING, Activation, Cell, Quantization, State
from systolith.sw.ir import Op, Tensor

__all__ = ["Builder", "Map", "Slot"]


@dataclass(slots=True)
class Slot:
    """A feature map: its shape and order, fixed for a result, open for a model input.

    A model input is free to lie in memory as its first reader wants it.
    """

    name: str
    cell: Cell
    #: Height, width, channels; None while open.
    shape: tuple[int, int, int] | None
    #: int64[n]: place in (h, w, c) order of each element; None while open.
    places: np.ndarray | None
    #: The operation that writes it; None for a model input.
    draft: Draft | None = None
    #: int64[h, w, c]: the order a model input gets if no reader asks for one.
    natural: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Map:
    """A feature map as an operation sees it: (h, w, c) and the zero padding around it."""

    tensor: str
    shape: tuple[int, int, int]
    #: Top, left, bottom, right, from Pad nodes.
    pads: tuple[int, int, int, int]
    #: Rank of the ONNX value without the batch: 3 for (c, h, w), 2 for (c, l).
    rank: int


@dataclass(slots=True)
class Builder:
    """Collects slots and drafts; ``finish`` turns them into tensors and operations."""

    #: The model's batch; 1 where it is symbolic.
    batch: int
    slots: dict[str, Slot] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    #: Maps that stand in for what refused nodes should make.
    stand_ins: set[str] = field(default_factory=set)
    #: Maps that refused nodes read: their scale may be missing for that reason alone.
    swallowed: set[str] = field(default_factory=set)

    # -- feature maps ------------------------------------------------------------------------

    def add_input(self, name: str, shape: tuple[int, ...], dtype: str) -> Activation:
        """Add a model input of batchless ``shape``, its order in memory open."""
        elements = np.arange(math.prod(shape)).reshape(shape)
        natural = elements.reshape(1, 1, -1)
        if len(shape) in (2, 3):
            natural = np.moveaxis(elements, 0, -1).reshape(-1, *shape[-1:], shape[0])
        self.slots[name] = Slot(name, Cell(), None, None, natural=natural)
        state = State.RAW if dtype == "float32" else State.INTEGER
        return Activation(name, elements, state, dtype)

    def stand_in(self, name: str, shape: tuple[int, ...], dtype: str) -> Activation:
        """Add a map for what a refused node should make, its order in memory open.

        A float one waits for the scale that a QuantizeLinear tells.
        """
        name = _unique(name, self.slots)
        self.stand_ins.add(name)
        x = self.add_input(name, shape, dtype)
        return replace(x, state=State.PENDING) if dtype == "float32" else x

    def slot(self, x: Activation) -> Slot:
        """Return the feature map behind an activation."""
        return self.slots[x.tensor]

    def as_map(self, node: Node, x: Activation) -> Map:
        """Return an activation of shape (c, h, w) or (c, l) as a feature map with padding.

        Raises
        ------
        RefusedError
            If the elements do not lie in memory that way.
        """
        if len(x.shape) not in (2, 3):
            node.refuse(f"its input has {len(x.shape)} dimensions beside the batch",
                        "2-D operators take 4-D tensors, 1-D operators 3-D tensors")
        channels, *spatial = x.shape
        hwc = x.elements.reshape(channels, *([1] if len(spatial) == 1 else []), *spatial)
        hwc = hwc.transpose(1, 2, 0)
        inside = (hwc != PADDING).any(axis=2)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not rows.size:
            node.refuse("its input is nothing but padding", "remove the node")
        top, left = int(rows[0]), int(columns[0])
        inner = hwc[top:rows[-1] + 1, left:columns[-1] + 1]
        x = self.whole(node, x.rearranged(inner))
        inner, tensor = x.elements, x.tensor
        pads = (top, left, hwc.shape[0] - 1 - int(rows[-1]), hwc.shape[1] - 1 - int(columns[-1]))
        return Map(tensor, self.pin(node, x, inner), pads, 1 + len(spatial))

    def whole(self, node: Node, x: Activation) -> Activation:
        """Return x or, where it is not all rows, columns and channels in order, a map of its own.

        What does not pick rows, columns and channels one by one stays as it is.
        """
        slot = self.slot(x)
        complete = slot.shape is None and np.array_equal(
            np.sort(x.elements, axis=None), np.arange(slot.natural.size))
        if complete or (x.elements == PADDING).any():
            return x
        self.pin_naturally(node, x)
        picked = separate(slot.places[x.elements], slot.shape)
        if picked is None or (picked.rows, picked.columns, picked.channels) == tuple(
                tuple(range(length)) for length in slot.shape):
            return x
        draft = SelectDraft(**self.labels(node, slot.name) | {"kind": "Select"}, rows=picked.rows,
                            columns=picked.columns, channels=picked.channels)
        result = self.add_draft(draft, picked.shape, 3, like=x)
        return replace(x, tensor=result.tensor, elements=picked.elements, exclusive=True)

    def distinct(self, node: Node, x: Activation) -> Activation:
        """Return x or, where it reads elements of its map more than once, a map of its own."""
        if _distinct(x):
            return x
        for shape in (x.shape, *_triples(x.elements.size)):  # it may have been flattened
            y = self.whole(node, x.rearranged(x.elements.reshape(shape)))
            if _distinct(y):
                return y.rearranged(y.elements.reshape(x.shape))
        node.refuse(f"it reads elements of {self.slot(x).name!r} more than once, and not as whole "
                    "rows, columns and channels", "repeat those, without a Pad between")

    def pin(self, node: Node, x: Activation, inner: np.ndarray) -> tuple[int, int, int]:
        """Require that elements int64[h, w, c] are a whole feature map in memory order."""
        slot = self.slot(x)
        if slot.places is None and np.array_equal(
                np.sort(inner, axis=None), np.arange(slot.natural.size)):
            slot.places = np.argsort(inner, axis=None)
            slot.shape = inner.shape
        if slot.shape != inner.shape or (inner == PADDING).any() or not np.array_equal(
                slot.places[inner].ravel(), np.arange(inner.size)):
            node.refuse(f"it reads {slot.name!r} rearranged or in part, not as the "
                        f"{_text(slot.shape)} map that lies in memory",
                        "layout changes are free at the model's ends, before a fully connected "
                        "layer, or where they leave the order of (h, w, c) alone: remove the "
                        "Reshape, Transpose or Pad before it")
        return slot.shape

    def pin_naturally(self, node: Node, x: Activation) -> Slot:
        """Fix the order of a model input that is still open: its own, channels last."""
        slot = self.slot(x)
        if slot.places is None:
            self.pin(node, x, slot.natural)
        return slot

    # -- operations --------------------------------------------------------------------------

    def add_draft(self, draft: Draft, shape: tuple[int, int, int], rank: int,
                  like: Activation | None = None) -> Activation:
        """Add an operation; return its result as an ONNX value of a rank (without the batch).

        With ``like`` the result shares that value's quantisation, known or still to come.
        """
        size = math.prod(shape)
        cell = self.slot(like).cell if like else Cell()
        self.slots[draft.output] = Slot(draft.output, cell, shape, np.arange(size), draft)
        self.drafts.append(draft)
        elements = np.arange(size).reshape(shape).transpose(2, 0, 1)
        onnx_shape = {1: (size,), 2: (shape[2], shape[1]), 3: elements.shape}[rank]
        return Activation(draft.output, elements.reshape(onnx_shape),
                          like.state if like else State.PENDING, like.dtype if like else "float32")

    def labels(self, node: Node, *inputs: str) -> dict[str, Any]:
        """Return the fields of a draft that name it, unique in the graph."""
        name = _unique(node.name, {draft.name for draft in self.drafts})
        return {"node": node, "name": name, "kind": node.op, "inputs": inputs,
                "output": _unique(node.output, self.slots)}

    def clamp(self, node: Node, x: Activation, clamp: Clamp) -> Activation:
        """Saturate an activation: bounds of its producer where no one else reads it."""
        draft = self.slot(x).draft
        if draft is not None and x.exclusive:
            draft.clamps.append(clamp)
            draft.absorbed.append(node.name)
            return x
        return self.unary(node, x, "max", clamps=[clamp], like=x)

    def unary(self, node: Node, x: Activation, mode: str, *, clamps: Sequence[Clamp] = (),
              like: Activation | None = None) -> Activation:
        """Pass a map through a 1 x 1 window, which saturates (max) or rescales (average) it."""
        slot = self.pin_naturally(node, x)
        draft = PoolDraft(**self.labels(node, slot.name), mode=mode, kernel=(1, 1),
                          clamps=list(clamps))
        result = self.add_draft(draft, slot.shape, 3, like)
        return result.rearranged(np.where(x.elements == PADDING, PADDING, slot.places[x.elements]))

    # -- the end -----------------------------------------------------------------------------

    def finish(self) -> tuple[dict[str, Tensor], list[Op], list[Refusal]]:
        """Return tensors, operations and the refusals that only showed now."""
        problems: list[Refusal] = []
        for slot in self.slots.values():
            if slot.cell.value is None and slot.draft is None:
                slot.cell.value = Quantization(1.0, 0)  # integers nobody gave a scale: max pooling
        tensors = {
            slot.name: Tensor(name=slot.name, shape=slot.shape, scale=slot.cell.value.scale,
                              zero_point=slot.cell.value.zero_point)
            for slot in self.slots.values() if slot.cell.value and slot.shape}
        ops = []
        open_cells: list[Cell] = []
        for draft in self.drafts:
            cell = self.slots[draft.output].cell
            try:
                if cell.value is None and not any(cell is other for other in open_cells):
                    open_cells.append(cell)
                    if not any(cell is self.slots[name].cell for name in self.swallowed):
                        draft.node.refuse(
                            "its float result is never quantised", "put QuantizeLinear and "
                            "DequantizeLinear behind it, as onnxruntime.quantization does")
                if all(name in tensors for name in (*draft.inputs, draft.output)):
                    ops.append(draft.finish(tensors))
            except RefusedError as refused:
                problems.append(refused.refusal)
        return tensors, ops, problems


def _distinct(x: Activation) -> bool:
    real = x.elements[x.elements != PADDING]
    return np.unique(real).size == real.size


def _triples(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the shapes of three axes that hold so many elements."""
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    for first in divisors:
        for second in divisors:
            if size // first % second == 0:
                yield first, second, size // first // second


def _unique(name: str, taken: Container[str]) -> str:
    candidate, k = name, 1
    while candidate in taken:
        k += 1
        candidate = f"{name}.{k}"
    return candidate


def _text(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else " x ".join(map(str, shape))
