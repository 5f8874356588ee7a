"""What the host runs inside a model: LOGISTIC and its kin, SOFTMAX, and MUL of two feature maps.

References
----------
``tensorflow/lite/kernels/mul.cc`` and
``tensorflow/lite/kernels/internal/reference/integer_ops/mul.h``.
"""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.hosted import MulDraft, SoftmaxDraft, TableDraft
from systolith.sw.importer.tflite.elementwise import as_read, scale_channels
from systolith.sw.importer.tflite.layout import whole
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
    source = whole(builder, node, node.feature_map())
    if step.kind == "table":
        slot = builder.pin_naturally(node, source)
        draft = TableDraft(**builder.labels(node, slot.name),
                           levels=np.array(step.attributes["levels"], np.int8))
        return as_read(add_draft(builder, node, draft, slot.shape), slot, source)
    shape = _pin(builder, node, source)
    draft = SoftmaxDraft(**builder.labels(node, source.tensor), beta=step.attributes["beta"])
    result = add_draft(builder, node, draft, shape)
    return result.rearranged(result.elements.reshape(source.shape))


def multiply(builder: Builder, node: Operation) -> Value:
    """Import MUL: of a map and a constant on the device, of two maps on the host."""
    if not all(isinstance(node.operand(i), Activation) for i in (0, 1)):
        return scale_channels(builder, node)
    a, b = (whole(builder, node, node.feature_map(i)) for i in (0, 1))
    slots = [builder.pin_naturally(node, x) for x in (a, b)]
    draft = MulDraft(**builder.labels(node, a.tensor, b.tensor), clamps=node.clamps())
    if slots[0].shape == slots[1].shape and np.array_equal(
            *(slot.places[x.elements] for x, slot in zip((a, b), slots, strict=True))):
        return as_read(add_draft(builder, node, draft, slots[0].shape), slots[0], a)
    advice = "maps can be multiplied where their axes agree or are 1"
    if len(a.shape) != len(b.shape) and builder.batch != 1:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    check_size(node, *shape)
    spread = np.broadcast_shapes(*(_pin(builder, node, x) for x in (a, b)))
    result = add_draft(builder, node, draft, spread)
    return result.rearranged(result.elements.reshape(shape))


def _pin(builder: Builder, node: Operation, x: Activation) -> tuple[int, int, int]:
    """Require that a map of up to three axes lies in memory as it is read; return (h, w, c)."""
    if len(x.shape) > 3:
        node.refuse(f"its input has {len(x.shape)} dimensions beside the batch",
                    "there may be 3: reshape it")
    return builder.pin(node, x, x.elements.reshape((1,) * (3 - len(x.shape)) + x.shape))


HANDLERS = {"MUL": multiply}
