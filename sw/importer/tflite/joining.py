"""CONCATENATION: maps of one scale, side by side."""

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import ConcatDraft
from systolith.sw.importer.tflite.layout import whole
from systolith.sw.importer.tflite.operation import Operation, add_draft
from systolith.sw.importer.values import Value

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
    if len(parts) == 1:
        return parts[0]
    shapes = [builder.pin(node, x, x.elements.reshape(*[1] * (3 - rank), *x.shape)) for x in parts]
    draft = ConcatDraft(**builder.labels(node, *(x.tensor for x in parts)), axis=axis + 3 - rank)
    shape = list(shapes[0])
    shape[draft.axis] = sum(part[draft.axis] for part in shapes)
    result = add_draft(builder, node, draft, tuple(shape))
    return result.rearranged(result.elements.reshape(shape[3 - rank:]))


HANDLERS = {"CONCATENATION": concatenation}
