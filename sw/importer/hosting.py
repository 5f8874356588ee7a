"""What the host runs inside a model: functions of one number, and Mul of two feature maps."""

from typing import Any

import numpy as np

from systolith.sw import ports
from systolith.sw.functions import FUNCTIONS
from systolith.sw.importer.builder import Builder, Slot
from systolith.sw.importer.drafts import Draft
from systolith.sw.importer.hosted import MulDraft, RealDraft, TableDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import OFFSETS
from systolith.sw.importer.separation import transposition
from systolith.sw.importer.values import PADDING, Activation, Quantization, State
from systolith.sw.ir import HostStep, Tensor

__all__ = ["Continuation", "product"]


class Continuation:
    """Makes operations of what the host would do at the model's end, each once.

    Functions of one number and the QuantizeLinear behind them are a table of 256 levels; what looks
    at more of them stays in real numbers.
    """

    def __init__(self, builder: Builder):
        self.builder = builder
        #: The quantising step and the table's result; the step keeps its identity alive.
        self._made: dict[int, tuple[HostStep, Activation]] = {}

    def __call__(self, node: Node, x: Activation) -> Activation:
        """Return a value of the host as integers or, dequantised again, as a number.

        What is never quantised stays as it is, and whoever reads it refuses it.
        """
        kinds = [step.kind for step in x.steps]
        if x.state is not State.HOST or "quantize" not in kinds:
            return x
        end = kinds.index("quantize")
        functions, after = kinds[1:end], kinds[end + 1:]
        if len(after) > 1:
            return x
        step = x.steps[end]
        if id(step) not in self._made:
            make = self._table if all(kind in FUNCTIONS for kind in functions) else self._real
            self._made[id(step)] = step, make(node, x, end)
        result = self._made[id(step)][1]
        if not after:
            return result
        again = x.steps[end + 1].attributes
        if any(again[name] != step.attributes[name] for name in ("scale", "zero_point")):
            return x
        return Activation(result.tensor, result.elements, State.REAL, "float32", x.exclusive)

    def _table(self, node: Node, x: Activation, end: int) -> Activation:
        steps, builder = x.steps[:end + 1], self.builder
        if (x.elements == PADDING).any():
            x = builder.whole(node, x)
        slot = builder.pin_naturally(node, x)
        source = Tensor(name=slot.name, shape=slot.shape, scale=slot.cell.value.scale,
                        zero_point=slot.cell.value.zero_point)
        levels = ports.apply(steps, np.arange(-128, 128, dtype=np.int8), source) + _offset(steps)
        draft = TableDraft(**self._labels(node, slot, steps), levels=levels.astype(np.int8))
        return self._result(slot, x, steps, draft)

    def _real(self, node: Node, x: Activation, end: int) -> Activation:
        steps, builder = x.steps[:end + 1], self.builder
        x = builder.whole(node, x)
        slot = builder.pin_naturally(node, x)
        permutation = transposition(slot.shape, slot.places[x.elements.ravel()])
        if permutation is None:
            x = builder.in_a_row(node, x)
            slot, permutation = builder.slot(x), (0, 1, 2)
        draft = RealDraft(**self._labels(node, slot, steps), shape=x.shape, steps=steps,
                          permutation=permutation, offset=_offset(steps))
        return self._result(slot, x, steps, draft)

    def _labels(self, node: Node, slot: Slot, steps: tuple[HostStep, ...]) -> dict[str, Any]:
        fields = self.builder.labels(node, slot.name)
        kind = ", ".join(step.kind for step in steps[1:-1])
        return fields | {"name": f"{fields['name']}.{kind}", "kind": kind}

    def _result(self, slot: Slot, x: Activation, steps: tuple[HostStep, ...],
                draft: Draft) -> Activation:
        """Return what an operation makes of x, which lies as x does."""
        result = self.builder.add_draft(draft, slot.shape, 3)
        attributes, offset = steps[-1].attributes, _offset(steps)
        self.builder.slot(result).cell.value = Quantization(
            attributes["scale"], int(attributes["zero_point"]) + offset)
        places = slot.places[x.elements]
        return Activation(result.tensor, places, State.INTEGER, "uint8" if offset else "int8")


def _offset(steps: tuple[HostStep, ...]) -> int:
    """Return what makes int8 of the levels that steps end with."""
    return OFFSETS["uint8" if steps[-1].attributes["high"] > 127 else "int8"]


def product(builder: Builder, node: Node) -> Activation:
    """Import Mul of two maps of one number of dimensions, axes of length 1 repeated."""
    a, b = (builder.whole(node, node.quantized(i)) for i in (0, 1))
    advice = "maps of the same number of dimensions can be multiplied where axes agree or are 1"
    rank = len(a.shape)
    if rank != len(b.shape) or rank > 3 or any(
            1 not in pair and pair[0] != pair[1] for pair in zip(a.shape, b.shape, strict=True)):
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    slots = [builder.pin_naturally(node, x) for x in (a, b)]
    places = [slot.places[x.elements] for x, slot in zip((a, b), slots, strict=True)]
    if slots[0].shape == slots[1].shape and np.array_equal(*places):
        draft = MulDraft(**builder.labels(node, a.tensor, b.tensor), lift=True)
        return builder.add_draft(draft, slots[0].shape, 3).rearranged(places[0])
    names, shapes = zip(*(_pin(builder, node, x) for x in (a, b)), strict=True)
    draft = MulDraft(**builder.labels(node, *names), lift=True)
    return builder.add_draft(draft, np.broadcast_shapes(*shapes), rank)


def _pin(builder: Builder, node: Node, x: Activation) -> tuple[str, tuple[int, int, int]]:
    """Return the map that holds x, of axes (c, h, w), (c, l) or (c), and its (h, w, c)."""
    last = np.moveaxis(x.elements, 0, -1)
    inner = last.reshape((1,) * (3 - last.ndim) + last.shape)
    return builder.pin(node, x, inner), inner.shape
