"""CONCATENATION, by additions: each part is written into a map of zeros, and the maps are added.

Exact, because between maps of one scale and zero point TFLite's ADD only adds.
"""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import AddDraft, ConvDraft, pass_through
from systolith.sw.importer.tflite.layout import whole
from systolith.sw.importer.tflite.operation import Operation, add_draft, check_size
from systolith.sw.importer.values import Activation, Value

__all__ = ["HANDLERS"]


def concatenation(builder: Builder, node: Operation) -> Value:
    """Import CONCATENATION along any axis but the batch."""
    parts = [whole(builder, node, node.feature_map(i)) for i in range(len(node.inputs))]
    if node.attribute("FusedActivationFunction"):
        node.refuse("it has a fused activation", "convert the model again")
    if any(builder.slot(x).cell.value != node.quantization() for x in parts):
        node.refuse("its operands have other scales than its result", "TFLite joins maps of one "
                    "scale: convert the model again")
    rank = len(parts[0].shape)
    axis = node.attribute("Axis")
    axis = axis - 1 if axis > 0 else axis + rank
    if rank > 3 or not 0 <= axis < rank or node.attribute("Axis") == 0 or any(
            x.shape[:axis] != parts[0].shape[:axis]
            or x.shape[axis + 1:] != parts[0].shape[axis + 1:] for x in parts):
        node.refuse(f"it joins maps of the shapes {[x.shape for x in parts]} along axis "
                    f"{node.attribute('Axis')}", "the batch must stay the first dimension, and "
                    "the other axes must agree")
    lengths = [x.shape[axis] for x in parts]
    result = None
    for i, x in enumerate(parts):
        placed = _place(builder, node, x, axis + 3 - rank, sum(lengths[:i]), sum(lengths))
        result = placed if result is None else _add(builder, node, result, placed)
    shape = [*parts[0].shape]
    shape[axis] = sum(lengths)
    return result.rearranged(result.elements.reshape(shape))


def _place(builder: Builder, node: Operation, x: Activation, axis: int, before: int,
           total: int) -> Activation:
    """Return a map with zeros around x along an axis of (h, w, c), ``total`` long."""
    shape = (*[1] * (3 - len(x.shape)), *x.shape)
    builder.pin(node, x, x.elements.reshape(shape))
    slot = builder.slot(x)
    if shape[axis] == total:
        return x.rearranged(x.elements.reshape(shape))
    scale = slot.cell.value.scale
    after = total - before - shape[axis]
    fields, pads = pass_through(shape[2], scale), (0, 0, 0, 0)
    if axis == 2:
        check_size(node, total, shape[2])
        weights = np.eye(total, shape[2], -before, np.int8)
        fields = {"weights": weights[:, None, None], "bias": np.zeros(total, np.int64),
                  "scale": np.full(total, scale)}
    else:
        pads = (before, 0, after, 0) if axis == 0 else (0, before, 0, after)
    draft = ConvDraft(**builder.labels(node, slot.name), **fields, pads=pads)
    return add_draft(builder, node, draft, (*shape[:axis], total, *shape[axis + 1:]))


def _add(builder: Builder, node: Operation, a: Activation, b: Activation) -> Activation:
    draft = AddDraft(**builder.labels(node, a.tensor, b.tensor))
    return add_draft(builder, node, draft, a.shape)


HANDLERS = {"CONCATENATION": concatenation}
