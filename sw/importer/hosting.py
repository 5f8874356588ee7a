"""What the host runs inside a model: functions of one number, and Mul of two feature maps."""

import numpy as np

from systolith.sw import ports
from systolith.sw.functions import FUNCTIONS
from systolith.sw.importer.builder import Builder
from systolith.sw.importer.hosted import MulDraft, TableDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import OFFSETS
from systolith.sw.importer.values import PADDING, Activation, Quantization, State
from systolith.sw.ir import HostStep, Tensor

__all__ = ["Continuation", "product"]


class Continuation:
    """Makes operations of what the host would do at the model's end, each once.

    A function of one number and the QuantizeLinear behind it are a table of 256 levels.
    """

    def __init__(self, builder: Builder):
        self.builder = builder
        #: The quantising step and the table's result; the step keeps its identity alive.
        self._made: dict[int, tuple[HostStep, Activation]] = {}

    def __call__(self, node: Node, x: Activation) -> Activation:
        """Return a value of the host as integers or, dequantised again, as a number.

        What no table can be stays as it is, and whoever reads it refuses it.
        """
        kinds = [step.kind for step in x.steps]
        if x.state is not State.HOST or "quantize" not in kinds:
            return x
        end = kinds.index("quantize")
        functions, after = kinds[1:end], kinds[end + 1:]
        if not all(kind in FUNCTIONS for kind in functions) or len(after) > 1:
            return x
        step = x.steps[end]
        if id(step) not in self._made:
            self._made[id(step)] = step, self._table(node, x, end)
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
        slot, attributes = builder.pin_naturally(node, x), steps[end].attributes
        offset = OFFSETS["uint8" if attributes["high"] > 127 else "int8"]
        source = Tensor(name=slot.name, shape=slot.shape, scale=slot.cell.value.scale,
                        zero_point=slot.cell.value.zero_point)
        levels = ports.apply(steps, np.arange(-128, 128, dtype=np.int8), source) + offset
        fields = builder.labels(node, slot.name)
        kind = ", ".join(step.kind for step in steps[1:end])
        fields |= {"name": f"{fields['name']}.{kind}", "kind": kind}
        result = builder.add_draft(
            TableDraft(**fields, levels=levels.astype(np.int8)), slot.shape, 3)
        builder.slot(result).cell.value = Quantization(
            attributes["scale"], int(attributes["zero_point"]) + offset)
        places = slot.places[x.elements]
        return Activation(result.tensor, places, State.INTEGER, "uint8" if offset else "int8")


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
