"""What the host runs inside a model: functions of one level, SOFTMAX, joins of two feature maps.

References
----------
``tensorflow/lite/kernels/{mul,maximum_minimum,resize_bilinear}.cc`` and
``tensorflow/lite/kernels/internal/reference/integer_ops/mul.h``.
"""

from collections.abc import Callable

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import Clamp, Draft
from systolith.sw.importer.hosted import (
    BilinearDraft,
    ExtremeDraft,
    MulDraft,
    SoftmaxDraft,
    TableDraft,
)
from systolith.sw.importer.tflite.elementwise import (
    as_read,
    constant_levels,
    constant_map,
    scale_channels,
)
from systolith.sw.importer.tflite.operation import Operation, add_draft, check_size
from systolith.sw.importer.values import Activation, Value

__all__ = ["HANDLERS", "go_on"]


def go_on(builder: Builder, node: Operation, x: Activation) -> Activation:
    """Return what the host would do at the model's end as an operation inside it.

    Parameters
    ----------
    node : Operation
        The operator that the host runs.
    x : Activation
        Its result: a map, and the one step behind it.
    """
    step, = x.steps
    source = builder.whole(node, node.feature_map())
    if step.kind == "table":
        slot = builder.pin_naturally(node, source)
        draft = TableDraft(**builder.labels(node, slot.name),
                           levels=np.array(step.attributes["levels"], np.int8))
        return as_read(add_draft(builder, node, draft, slot.shape), slot, source)
    name, shape = _pin(builder, node, source)
    draft = SoftmaxDraft(**builder.labels(node, name), beta=step.attributes["beta"])
    result = add_draft(builder, node, draft, shape)
    return result.rearranged(result.elements.reshape(source.shape))


def multiply(builder: Builder, node: Operation) -> Value:
    """Import MUL: by a constant on the device, where it can be done there; else on the host."""
    constant = next((i for i in (0, 1) if not isinstance(node.operand(i), Activation)), None)
    if constant is not None:
        scaled = scale_channels(builder, node, constant)
        if scaled is not None:
            return scaled
    return _join(builder, node, MulDraft, *_pair(builder, node, constant), clamps=node.clamps())


def extreme(largest: bool) -> Callable[[Builder, Operation], Value]:
    """Return the handler of MAXIMUM or MINIMUM, with one number a bound of the operator before."""
    def handler(builder: Builder, node: Operation) -> Value:
        constant = next((i for i in (0, 1) if not isinstance(node.operand(i), Activation)), None)
        maps = [builder.whole(node, node.feature_map(i)) for i in (0, 1) if i != constant]
        grids = [builder.slot(x).cell.value for x in maps]
        if constant is not None:
            levels, grid = constant_levels(builder, node, maps[0], constant)
            grids.append(grid)
        if any(grid != node.quantization() for grid in grids):
            node.refuse("its operands have other scales than its result", "TFLite compares maps of "
                        "one scale: convert the model again")
        if constant is not None and np.ptp(levels) == 0:
            level = int(levels[0])
            clamp = Clamp(*((level, 127) if largest else (-128, level)), real=False)
            return builder.clamp(node, maps[0], clamp)
        return _join(builder, node, ExtremeDraft, *_pair(builder, node, constant), largest=largest)
    return handler


def _pair(builder: Builder, node: Operation,
          constant: int | None) -> tuple[Activation, Activation]:
    """Return both operands as maps, a constant as one that a convolution writes."""
    if constant is None:
        return tuple(builder.whole(node, node.feature_map(i)) for i in (0, 1))
    x = builder.whole(node, node.feature_map(1 - constant))
    return x, constant_map(builder, node, x, constant)


def _join(builder: Builder, node: Operation, kind: type[Draft], a: Activation, b: Activation,
          **fields: object) -> Activation:
    """Return what the host makes of two maps, axes of length 1 repeated."""
    slots = [builder.pin_naturally(node, x) for x in (a, b)]
    if slots[0].shape == slots[1].shape and np.array_equal(
            *(slot.places[x.elements] for x, slot in zip((a, b), slots, strict=True))):
        draft = kind(**builder.labels(node, a.tensor, b.tensor), **fields)
        return as_read(add_draft(builder, node, draft, slots[0].shape), slots[0], a)
    advice = "maps can be joined where their axes agree or are 1"
    if len(a.shape) != len(b.shape) and builder.batch != 1:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    check_size(node, *shape)
    names, shapes = zip(*(_pin(builder, node, x) for x in (a, b)), strict=True)
    draft = kind(**builder.labels(node, *names), **fields)
    result = add_draft(builder, node, draft, np.broadcast_shapes(*shapes))
    return result.rearranged(result.elements.reshape(shape))


def resize_bilinear(builder: Builder, node: Operation) -> Value:
    """Import RESIZE_BILINEAR, to any size."""
    x, size = builder.whole(node, node.feature_map()), node.whole_numbers(1, "size")
    if len(x.shape) != 3 or len(size) != 2 or min(size) < 1:
        node.refuse("it needs a map of height, width, channels and a size for the first two",
                    "correct the model")
    if builder.slot(x).cell.value != node.quantization():
        node.refuse("its result has another scale than its input", "convert the model again")
    name, (_, _, channels) = _pin(builder, node, x)
    draft = BilinearDraft(
        **builder.labels(node, name), size=tuple(size),
        corners=bool(node.attribute("AlignCorners")), half=bool(node.attribute("HalfPixelCenters")))
    return add_draft(builder, node, draft, (*size, channels))


def _pin(builder: Builder, node: Operation,
         x: Activation) -> tuple[str, tuple[int, int, int]]:
    """Return the map that holds x, of up to three axes, as it is read, and its (h, w, c)."""
    if len(x.shape) > 3:
        node.refuse(f"its input has {len(x.shape)} dimensions beside the batch",
                    "there may be 3: reshape it")
    inner = x.elements.reshape((1,) * (3 - len(x.shape)) + x.shape)
    return builder.pin(node, x, inner), inner.shape


HANDLERS = {"MUL": multiply, "MAXIMUM": extreme(True), "MINIMUM": extreme(False),
            "RESIZE_BILINEAR": resize_bilinear}
