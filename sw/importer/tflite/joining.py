"""CONCATENATION and SPACE_TO_DEPTH: maps of one scale, side by side; DEPTH_TO_SPACE.

References
----------
``tensorflow/lite/kernels/internal/reference/{space_to_depth,depth_to_space}.h``.
"""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import ConcatDraft, TransposedDraft
from systolith.sw.importer.joining import picking_weights
from systolith.sw.importer.tflite.operation import Operation, add_draft, as_map
from systolith.sw.importer.tflite.shapes import concatenation_of_sizes
from systolith.sw.importer.values import Activation, Constant, Value

__all__ = ["HANDLERS"]


def concatenation(builder: Builder, node: Operation) -> Value:
    """Import CONCATENATION along any axis but the batch, or of lists of sizes."""
    if all(isinstance(value, Constant) for value in node.inputs):
        return concatenation_of_sizes(node)
    parts = [builder.whole(node, node.feature_map(i)) for i in range(len(node.inputs))]
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
    return parts[0] if len(parts) == 1 else _join(builder, node, parts, axis)


def _join(builder: Builder, node: Operation, parts: list[Activation], axis: int) -> Activation:
    """Return whole maps joined along an axis of their batchless shape."""
    rank = len(parts[0].shape)
    maps = [x.elements.reshape(*[1] * (3 - rank), *x.shape) for x in parts]
    names = [builder.pin(node, x, inner) for x, inner in zip(parts, maps, strict=True)]
    draft = ConcatDraft(**builder.labels(node, *names), axis=axis + 3 - rank)
    shape = list(maps[0].shape)
    shape[draft.axis] = sum(inner.shape[draft.axis] for inner in maps)
    result = add_draft(builder, node, draft, tuple(shape))
    return result.rearranged(result.elements.reshape(shape[3 - rank:]))


def space_to_depth(builder: Builder, node: Operation) -> Value:
    """Import SPACE_TO_DEPTH: the pixels of each block become one, in the order of their rows."""
    x, block = _blocks(builder, node)
    if {n % block for n in x.shape[:2]} != {0}:
        node.refuse(f"its blocks of {block} do not divide {x.shape[0]} x {x.shape[1]}",
                    "correct the model")
    parts = [builder.whole(node, x.rearranged(x.elements[i::block, j::block]))
             for i in range(block) for j in range(block)]
    return parts[0] if block == 1 else _join(builder, node, parts, 2)


def depth_to_space(builder: Builder, node: Operation) -> Value:
    """Import DEPTH_TO_SPACE: a transposed convolution that picks a channel for each phase."""
    x, block = _blocks(builder, node)
    source = as_map(builder, node, x)
    h, w, channels = source.shape
    if channels % block ** 2:
        node.refuse(f"its {channels} channels do not fill blocks of {block} x {block}",
                    "correct the model")
    outputs = channels // block ** 2
    draft = TransposedDraft(
        **builder.labels(node, source.tensor), stride=(block, block), crop=(0, 0),
        weights=picking_weights(np.arange(channels).reshape(block, block, outputs)),
        bias=np.zeros(outputs, np.int64),
        scale=np.full(outputs, builder.slot(x).cell.value.scale), size=(h * block, w * block))
    return add_draft(builder, node, draft, (h * block, w * block, outputs))


def _blocks(builder: Builder, node: Operation) -> tuple[Activation, int]:
    x, block = builder.whole(node, node.feature_map()), node.attribute("BlockSize")
    if len(x.shape) != 3 or block < 1:
        node.refuse("it needs a map of height, width, channels and a block size",
                    "correct the model")
    if builder.slot(x).cell.value != node.quantization():
        node.refuse("its result has another scale than its input", "convert the model again")
    return x, block


HANDLERS = {"CONCATENATION": concatenation, "SPACE_TO_DEPTH": space_to_depth,
            "DEPTH_TO_SPACE": depth_to_space}
