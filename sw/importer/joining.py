"""Concat and SpaceToDepth: maps side by side; DepthToSpace, the latter's inverse."""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import ConcatDraft, TransposedDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import dequantize, quantize
from systolith.sw.importer.values import HOSTED, Activation, Value

__all__ = ["HANDLERS", "picking_weights"]


def concat(builder: Builder, node: Node) -> Value:
    """Import Concat of maps along channels, height or width."""
    parts = [node.quantized(i) for i in range(len(node.inputs))]
    shapes = [x.shape for x in parts]
    rank = len(shapes[0])
    axis = node.attribute("axis", 1)
    axis = axis - 1 if axis > 0 else axis + rank
    if not 0 <= axis < rank <= 3 or len({
            (*shape[:axis], *shape[axis + 1:]) for shape in shapes}) > 1:
        node.refuse(f"it joins maps of the shapes {shapes} along axis {node.attribute('axis', 1)}",
                    "the batch must stay the first dimension, and the other axes must agree")
    if len(parts) == 1:
        return parts[0]
    return _join(builder, node, parts, axis)


def _join(builder: Builder, node: Node, parts: list[Activation], axis: int,
          like: Activation | None = None) -> Activation:
    """Return maps joined along an axis of their batchless shape, on the scale of ``like``."""
    rank = len(parts[0].shape)
    # a vector is a map of one pixel
    maps = [builder.as_map(node, x.rearranged(x.elements.reshape(
        x.shape if rank > 1 else (-1, 1)))) for x in (builder.whole(node, x) for x in parts)]
    place = {0: 2, 1: 0, 2: 1}[axis] if rank == 3 else {0: 2, 1: 1}[axis]
    draft = ConcatDraft(**builder.labels(node, *(source.tensor for source in maps)), axis=place)
    shape = list(maps[0].shape)
    shape[place] = sum(source.shape[place] for source in maps)
    result = builder.add_draft(draft, tuple(shape), max(rank, 2), like)
    whole = list(parts[0].shape)
    whole[axis] = sum(x.shape[axis] for x in parts)
    return result.rearranged(np.reshape(result.elements, whole))


def qlinear_concat(builder: Builder, node: Node) -> Value:
    """Import QLinearConcat: scale and zero point of the result, then triples of its operands."""
    parts = [dequantize(builder, node, *(node.operand(i + k) for k in range(3)))
             for i in range(2, len(node.inputs), 3)]
    return quantize(builder, node, concat(builder, node.on(*parts)), node.operand(0),
                    node.operand(1))


def space_to_depth(builder: Builder, node: Node) -> Value:
    """Import SpaceToDepth: the pixels of each block become one, in the order of their rows."""
    x, block = _blocks(node)
    parts = [x.rearranged(x.elements[:, i::block, j::block])
             for i in range(block) for j in range(block)]
    if {x.shape[1] % block, x.shape[2] % block} != {0}:
        node.refuse(f"its blocks of {block} do not divide {x.shape[1]} x {x.shape[2]}",
                    "correct the model")
    result = _join(builder, node, parts, 0, like=x)
    mode = node.attribute("mode", "DCR")
    if mode == "DCR":
        return result
    if mode != "CRD":
        node.refuse(f"its mode is {mode!r}", "ONNX knows DCR and CRD")
    blocks = result.elements.reshape(block * block, -1, *result.shape[1:])
    return result.rearranged(blocks.swapaxes(0, 1).reshape(result.shape))


def depth_to_space(builder: Builder, node: Node) -> Value:
    """Import DepthToSpace: a transposed convolution that picks a channel for each phase."""
    node.quantized()
    x, block = _blocks(node)
    source = builder.as_map(node, builder.whole(node, x))
    h, w, channels = source.shape
    if channels % block ** 2:
        node.refuse(f"its {channels} channels do not fill blocks of {block} x {block}",
                    "correct the model")
    outputs = channels // block ** 2
    picked = np.arange(channels)
    if node.attribute("mode", "DCR") == "CRD":
        picked = picked.reshape(outputs, block, block).transpose(1, 2, 0)
    weights = picking_weights(picked.reshape(block, block, outputs))
    draft = TransposedDraft(
        **builder.labels(node, source.tensor), weights=weights, bias=np.zeros(outputs, np.int64),
        scale=np.full(outputs, input_scale(builder, x)), stride=(block, block), crop=(0, 0),
        size=(h * block, w * block))
    return builder.add_draft(draft, (h * block, w * block, outputs), source.rank, like=x)


def picking_weights(channels: np.ndarray) -> np.ndarray:
    """Return int8[o, kh, kw, i] that pick channel ``channels[y, x, o]`` for each tap (y, x)."""
    return np.moveaxis(np.eye(channels.size, dtype=np.int8)[channels], 2, 0)


def _blocks(node: Node) -> tuple[Activation, int]:
    x, block = node.activation(), node.attribute("blocksize", 0)
    if len(x.shape) != 3 or block < 1 or x.state in HOSTED:
        node.refuse("it needs a map of (n, c, h, w) and a block size", "correct the model")
    return x, block


HANDLERS = {
    "Concat": concat,
    "QLinearConcat": qlinear_concat,
    "SpaceToDepth": space_to_depth,
    "DepthToSpace": depth_to_space,
}
