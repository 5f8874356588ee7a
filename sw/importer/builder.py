"""The graph while it is being read: feature maps, their order in memory, and operation drafts."""

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from systolith.sw.errors import Refusal
from systolith.sw.importer.drafts import (
    Clamp,
    ConvDraft,
    Draft,
    PoolDraft,
    SelectDraft,
    pass_through,
)
from systolith.sw.importer.hosted import RearrangeDraft
from systolith.sw.importer.node import Node, RefusedError
from systolith.sw.importer.separation import separate, transposition
from systolith.sw.importer.values import PADDING, Activation, Cell, Quantization, State
from systolith.sw.ir import HostStep, Op, Tensor

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
    #: A model input's shape in the model's own layout, without the batch.
    given: tuple[int, ...] = ()
    #: What the host does to a model input before it quantises it.
    steps: tuple[HostStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Map:
    """A feature map as an operation sees it: (h, w, c) and the zero padding around it."""

    tensor: str
    shape: tuple[int, int, int]
    #: Top, left, bottom, right, from Pad nodes.
    pads: tuple[int, int, int, int]
    #: Rank of the value without the batch: 3 for (c, h, w), 2 for (c, l).
    rank: int


@dataclass(slots=True)
class Builder:
    """Collects slots and drafts; ``finish`` turns them into tensors and operations."""

    #: The model's batch; 1 where it is symbolic.
    batch: int
    #: Where the axis of channels is in the model's own arrays: last, or behind the batch.
    channels_last: bool = False
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
        natural = self._hwc(elements) if len(shape) <= 3 else elements.reshape(1, 1, -1)
        self.slots[name] = Slot(name, Cell(), None, None, natural=natural, given=shape)
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
        """Return an activation of two or three axes as a feature map with padding.

        Raises
        ------
        RefusedError
            If the elements do not lie in memory that way.
        """
        if len(x.shape) not in (2, 3):
            node.refuse(f"its input has {len(x.shape)} dimensions beside the batch",
                        "2-D operators take 4-D tensors, 1-D operators 3-D tensors")
        if (x.elements == PADDING).all():
            node.refuse("its input is nothing but padding", "remove the node")
        box = self._inside(x)
        if box[2] != slice(0, self._hwc(x.elements).shape[2]):
            x = self.whole(node, x)              # channels cannot be padded while they are read
            box = self._inside(x)
        rows, columns, _ = box
        h, w, _ = self._hwc(x.elements).shape
        x = self.whole(node, self._cut(x, box))
        pads = (rows.start, columns.start, h - rows.stop, w - columns.stop)
        inner = self._hwc(x.elements)
        return Map(self.pin(node, x, inner), inner.shape, pads, len(x.shape))

    def whole(self, node: Node, x: Activation) -> Activation:
        """Return x or, where it is not all rows, columns and channels in order, a map of its own.

        That has the zeros of Pad nodes in it. What does not pick rows, columns and channels one by
        one stays as it is.
        """
        if (x.elements == PADDING).any():
            return self._filled(node, x)
        slot = self.slot(x)
        if _complete(slot, x.elements) and (
                len(x.shape) > 3 or _may_lie(slot, self._hwc(x.elements))):
            return x
        self.pin_naturally(node, x)
        picked = separate(self._channels_to_end(slot.places[x.elements]), slot.shape)
        if picked is None or (picked.rows, picked.columns, picked.channels) == tuple(
                tuple(range(length)) for length in slot.shape):
            return x
        draft = SelectDraft(**self.labels(node, slot.name) | {"kind": "Select"}, rows=picked.rows,
                            columns=picked.columns, channels=picked.channels)
        result = self.add_draft(draft, picked.shape, 3, like=x)
        return replace(x, tensor=result.tensor, exclusive=True,
                       elements=self._channels_from_end(picked.elements))

    def _filled(self, node: Node, x: Activation) -> Activation:
        """Return a map of its own that has the zeros around x in it: a convolution of 1 x 1."""
        box = self._inside(x) if len(x.shape) <= 3 else None
        core = self._cut(x, box) if box else x
        known = self.slot(x).cell.value
        if not core.elements.size or (core.elements == PADDING).any():
            _refuse_zeros(node)
        if known is None:
            node.refuse("it needs the zeros of the Pad before it on a scale, and none is known yet",
                        "quantise the Pad's input (QuantizeLinear, DequantizeLinear)")
        core = self.whole(node, core)
        inner = self._hwc(core.elements)
        source = self.pin(node, core, inner)
        shape = self._hwc(x.elements).shape
        (top, left, front), (bottom, right, back) = zip(*(
            (part.start, n - part.stop) for part, n in zip(box, shape, strict=True)), strict=True)
        fields = pass_through(shape[2], known.scale)
        if front or back:
            fields = {"weights": np.eye(*shape[2:], inner.shape[2], -front, np.int8)[:, None, None],
                      "bias": np.zeros(shape[2], np.int64), "scale": np.full(shape[2], known.scale)}
        draft = ConvDraft(**self.labels(node, source) | {"kind": "Pad"}, **fields,
                          pads=(top, left, bottom, right))
        result = self.add_draft(draft, shape, 3, like=core)
        return replace(x, tensor=result.tensor, elements=result.elements.reshape(x.shape),
                       exclusive=True)

    def _inside(self, x: Activation) -> tuple[slice, slice, slice]:
        """Return the rows, columns and channels of x that are not padding all over."""
        real = self._hwc(x.elements) != PADDING
        spans = [np.flatnonzero(real.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        return tuple(slice(int(span[0]), int(span[-1]) + 1) if span.size else slice(0, 0)
                     for span in spans)

    def _cut(self, x: Activation, box: tuple[slice, slice, slice]) -> Activation:
        """Return only some rows, columns and channels of x."""
        spatial = box[3 - x.elements.ndim:2]
        own = (*spatial, box[2]) if self.channels_last else (box[2], *spatial)
        return x.rearranged(x.elements[own])

    def _hwc(self, elements: np.ndarray) -> np.ndarray:
        """Return an array of up to three axes as (h, w, c), those that lack of length 1."""
        last = self._channels_to_end(elements)
        return last.reshape((1,) * (3 - last.ndim) + last.shape)

    def _channels_to_end(self, elements: np.ndarray) -> np.ndarray:
        return elements if self.channels_last or elements.ndim < 2 else np.moveaxis(elements, 0, -1)

    def _channels_from_end(self, elements: np.ndarray) -> np.ndarray:
        return elements if self.channels_last or elements.ndim < 2 else np.moveaxis(elements, -1, 0)

    def distinct(self, node: Node, x: Activation) -> Activation:
        """Return x or, where it reads elements of its map more than once, a map of its own."""
        if _distinct(x):
            return x
        for shape in (x.shape, *_triples(x.elements.size)):  # it may have been flattened
            y = self.whole(node, x.rearranged(x.elements.reshape(shape)))
            if _distinct(y):
                return y.rearranged(y.elements.reshape(x.shape))
        return self.in_a_row(node, x)

    def aligned(self, node: Node, a: Activation, b: Activation) -> tuple[Activation, Activation]:
        """Return two values of one shape as maps in one order; the host changes that of b."""
        places, others = (self.pin_naturally(node, x).places[x.elements] for x in (a, b))
        if self.slot(a).shape == self.slot(b).shape and np.array_equal(places, others):
            return a, b
        if not np.array_equal(np.sort(places, axis=None), np.arange(self.slot(a).places.size)):
            a = self.in_a_row(node, a)
            places = a.elements
        inner = np.empty(self.slot(a).shape, np.int64)
        inner.ravel()[places] = b.elements
        return a, replace(b, tensor=self.pin(node, b, inner), elements=places, exclusive=True)

    def in_a_row(self, node: Node, x: Activation) -> Activation:
        """Return x as a map of one pixel."""
        row = x.elements.reshape(1, 1, -1)
        return replace(x, tensor=self.pin(node, x, row), exclusive=True,
                       elements=np.arange(row.size).reshape(x.shape))

    def pin(self, node: Node, x: Activation, inner: np.ndarray) -> str:
        """Return the feature map in which elements int64[h, w, c] of x lie in memory order.

        It is x's own, where they do or, in a model input whose order is open, can; else one that
        the host makes of it.
        """
        if (inner == PADDING).any():
            _refuse_zeros(node)
        slot = self.slot(x)
        if _may_lie(slot, inner):
            slot.places = np.argsort(inner, axis=None)
            slot.shape = inner.shape
        places = self.pin_naturally(node, x).places[inner]
        if slot.shape == inner.shape and np.array_equal(places.ravel(), np.arange(inner.size)):
            return slot.name
        draft = RearrangeDraft(**self.labels(node, slot.name) | {"kind": "Rearrange"},
                               places=places)
        return self.add_draft(draft, inner.shape, 3, like=x).tensor

    def pin_naturally(self, node: Node, x: Activation) -> Slot:
        """Fix the order of a model input that is still open: its own, channels last."""
        slot = self.slot(x)
        if slot.places is None:
            self.pin(node, x, slot.natural)
        return slot

    # -- operations --------------------------------------------------------------------------

    def add_draft(self, draft: Draft, shape: tuple[int, int, int], rank: int,
                  like: Activation | None = None) -> Activation:
        """Add an operation; return its result as a value of a rank (without the batch).

        With ``like`` the result shares that value's quantisation, known or still to come.
        """
        size = math.prod(shape)
        cell = self.slot(like).cell if like else Cell()
        self.slots[draft.output] = Slot(draft.output, cell, shape, np.arange(size), draft)
        self.drafts.append(draft)
        elements = self._channels_from_end(np.arange(size).reshape(
            size if rank == 1 else shape[3 - rank:]))
        return Activation(draft.output, elements,
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


def _complete(slot: Slot, elements: np.ndarray) -> bool:
    """Tell whether elements are all of a model input whose order is open."""
    return slot.places is None and np.array_equal(
        np.sort(elements, axis=None), np.arange(slot.natural.size))


def _may_lie(slot: Slot, hwc: np.ndarray) -> bool:
    """Tell whether a model input whose order is open may get that of elements int64[h, w, c]."""
    return _complete(slot, hwc) and transposition(
        hwc.shape, np.argsort(hwc, axis=None)) is not None


def _refuse_zeros(node: Node) -> NoReturn:
    node.refuse("the zeros of a Pad before it are not around a map of height, width and channels",
                "put the Pad behind the layout changes")


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
