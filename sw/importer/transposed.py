"""ConvTranspose, 1-D and 2-D."""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import TransposedDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Value
from systolith.sw.importer.weights import channel_scales, integer_bias, integer_weights

__all__ = ["HANDLERS"]


def conv_transpose(builder: Builder, node: Node) -> Value:
    """Import ConvTranspose; weights [i, o / groups, kh, kw]."""
    x = builder.whole(node, node.quantized())
    weights = integer_weights(node, 1)
    source = builder.as_map(node, x)
    levels, groups = weights.levels, node.attribute("group", 1)
    if levels.ndim != source.rank + 1:
        node.refuse(f"its weights have {levels.ndim} dimensions, its input {source.rank + 1}",
                    "1-D takes (n, c, l), 2-D (n, c, h, w)")
    if levels.shape[0] != source.shape[2] or levels.shape[0] % groups:
        node.refuse(f"its weights are for {levels.shape[0]} input channels in {groups} groups, its "
                    f"input has {source.shape[2]}", "correct the model")
    each = levels.shape[1]
    scale = input_scale(builder, x) * np.tile(channel_scales(node, weights, 1), groups)
    lift = [1] * (3 - source.rank)
    kernel = (*lift, *levels.shape[2:])
    # [g, i / g, o / g, kh, kw] -> [o, kh, kw, i / g]
    levels = levels.reshape(groups, -1, each, *kernel).transpose(0, 2, 3, 4, 1)
    levels = levels.reshape(groups * each, *kernel, -1)
    stride, dilation, crop, size = _geometry(node, source.shape[:2], kernel, source.rank - 1)
    draft = TransposedDraft(
        **builder.labels(node, source.tensor), weights=levels, scale=scale,
        bias=integer_bias(node, node.operand(2), scale), stride=stride, dilation=dilation,
        crop=crop, size=size, groups=groups, lift=True)
    return builder.add_draft(draft, (*size, groups * each), source.rank)


def _geometry(node: Node, lengths: tuple[int, int], kernel: tuple[int, ...],
              rank: int) -> list[tuple[int, int]]:
    """Return stride, dilation, crop (top, left) and the size of the result."""
    values = {
        "strides": [1] * rank, "dilations": [1] * rank, "output_padding": [0] * rank,
        "pads": [0] * 2 * rank, "output_shape": [0] * rank}
    values = {name: list(node.attribute(name) or default) for name, default in values.items()}
    if any(len(values[name]) not in (rank, rank + 2) if name == "output_shape" else
           len(values[name]) != (2 * rank if name == "pads" else rank) for name in values):
        node.refuse("its attributes do not have the dimensions of its input", "correct the model")
    if min(values["strides"] + values["dilations"]) < 1 or min(
            values["pads"] + values["output_padding"]) < 0:
        node.refuse("its window has a stride or dilation below 1 or negative padding",
                    "correct the model")
    values["output_shape"] = values["output_shape"][-rank:]
    begin, end = values["pads"][:rank], values["pads"][rank:]
    mode = node.attribute("auto_pad", "NOTSET")
    axes = [(1, 1, 0, lengths[0])] * (2 - rank)
    for i, length in enumerate(lengths[2 - rank:]):
        stride, dilation, extra, wanted = (values[name][i] for name in (
            "strides", "dilations", "output_padding", "output_shape"))
        full = (length - 1) * stride + dilation * (kernel[2 - rank + i] - 1) + 1 + extra
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            wanted = wanted or length * stride
            if full < wanted:
                node.refuse(f"its auto_pad asks for {wanted} results of a window that makes {full}",
                            "onnxruntime and ONNX's specification differ there: give it pads")
        before, after = (0, 0) if mode == "VALID" else (begin[i], end[i])
        if wanted:
            total = max(0, full - wanted)
            before = total // 2 if mode == "SAME_UPPER" else total - total // 2
            after = full - wanted - before
        size = full - before - after
        if size < 1:
            node.refuse(f"its padding cuts all of its {full} results off", "correct the model")
        axes.append((stride, dilation, before, size))
    return list(zip(*axes, strict=True))


HANDLERS = {"ConvTranspose": conv_transpose}
