"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED.

References
----------
``tensorflow/lite/kernels/internal/reference/integer_ops/{conv,depthwise_conv,transpose_conv}.h``;
the rescaling
factors: ``PopulateConvolutionQuantizationParams`` in ``tensorflow/lite/kernels/kernel_util.cc``.
FULLY_CONNECTED is that of LiteRT 2.3, measured at the steps of its results: it multiplies in double
precision and rounds once, where ``integer_ops/fully_connected.h`` of TensorFlow rounds twice.
"""

from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import flat_weights, pixels
from systolith.sw.importer.drafts import ConvDraft, TransposedDraft
from systolith.sw.importer.geometry import read_geometry
from systolith.sw.importer.tflite.drafts import FullyConnectedDraft
from systolith.sw.importer.tflite.operation import Operation, add_draft, as_map
from systolith.sw.importer.values import Value

__all__ = ["HANDLERS", "window"]

_PADDINGS = {0: "SAME_UPPER", 1: "VALID"}


def window(node: Operation) -> Operation:
    """Return a node with TFLite's window attributes in the words of :func:`read_geometry`."""
    padding = node.attribute("Padding")
    if padding not in _PADDINGS:
        node.refuse(f"its padding has the number {padding}", "TFLite knows SAME and VALID")
    return replace(node, attributes=node.attributes | {
        "auto_pad": _PADDINGS[padding],
        "strides": [node.attribute("StrideH"), node.attribute("StrideW")],
        "dilations": [node.attribute("DilationHFactor", 1), node.attribute("DilationWFactor", 1)]})


def conv_2d(builder: Builder, node: Operation) -> Value:
    """Import CONV_2D; weights [o, kh, kw, i], grouped if the input has a multiple of i channels."""
    levels, scales = node.weights(1, 0)
    return _conv(builder, node, levels, scales)


def depthwise_conv_2d(builder: Builder, node: Operation) -> Value:
    """Import DEPTHWISE_CONV_2D; weights [1, kh, kw, o], o a multiple of the channels."""
    levels, scales = node.weights(1, 3)
    if levels.ndim != 4 or levels.shape[0] != 1:
        node.refuse(f"its weights have the shape {levels.shape}", "correct the model")
    return _conv(builder, node, levels.transpose(3, 1, 2, 0), scales)


def _conv(builder: Builder, node: Operation, levels: np.ndarray, scales: np.ndarray) -> Value:
    """Import a convolution with weights int8[o, kh, kw, i]."""
    x = node.feature_map()
    if levels.ndim != 4:
        node.refuse(f"its weights have {levels.ndim} dimensions", "they must have 4")
    source = as_map(builder, node, x)
    source = replace(source, pads=_sum(source.pads, node.attribute("Pads", (0, 0, 0, 0))))
    geometry = read_geometry(window(node), source, levels.shape[1:3])
    outputs, depth, channels = len(levels), levels.shape[3], source.shape[2]
    if channels % depth or outputs % (channels // depth):
        node.refuse(f"its weights {levels.shape} do not fit an input of {channels} channels",
                    "correct the model")
    draft = ConvDraft(
        **builder.labels(node, source.tensor), weights=levels, bias=node.bias(2, outputs),
        scale=builder.slot(x).cell.value.scale * scales, clamps=node.clamps(),
        stride=geometry.stride, dilation=geometry.dilation, groups=channels // depth,
        pads=_sum(source.pads, geometry.pads))
    return add_draft(builder, node, draft, (*geometry.result, outputs))


def transpose_conv(builder: Builder, node: Operation) -> Value:
    """Import TRANSPOSE_CONV: the size of the result, weights [o, kh, kw, i], map, bias."""
    size = node.whole_numbers(0, "list of sizes")
    levels, scales = node.weights(1, 0)
    x = builder.whole(node, node.feature_map(2))
    source = as_map(builder, node, x)
    if levels.ndim != 4 or levels.shape[3] != source.shape[2] or len(size) != 4:
        node.refuse(f"its weights {levels.shape} do not fit an input of {source.shape[2]} channels",
                    "correct the model")
    outputs, *kernel, _ = levels.shape
    stride = (node.attribute("StrideH"), node.attribute("StrideW"))
    if min(*stride, *size) < 1:
        node.refuse("its stride or size is below 1", "correct the model")
    draft = TransposedDraft(
        **builder.labels(node, source.tensor), weights=levels, bias=node.bias(3, outputs),
        scale=builder.slot(x).cell.value.scale * scales, clamps=node.clamps(), stride=stride,
        crop=tuple(_cropped(node, *axis) for axis in zip(
            size[1:3], kernel, stride, strict=True)),
        size=tuple(size[1:3]))
    return add_draft(builder, node, draft, (*size[1:3], outputs))


def _cropped(node: Operation, size: int, kernel: int, stride: int) -> int:
    """Return what is cut off before the first result: as the convolution that ends there pads."""
    padding = _PADDINGS.get(node.attribute("Padding"))
    length = -(-size // stride) if padding == "SAME_UPPER" else (size - kernel + stride) // stride
    return max(0, (length - 1) * stride + kernel - size) // 2


def _sum(one: tuple[int, int, int, int],
         other: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = (p + q for p, q in zip(one, other, strict=True))
    return top, left, bottom, right


def fully_connected(builder: Builder, node: Operation) -> Value:
    """Import FULLY_CONNECTED; weights [o, k], over the whole map or over its last axis."""
    x = node.feature_map()
    if node.attribute("WeightsFormat", 0):
        node.refuse("its weights are shuffled", "convert the model again")
    levels, scales = node.weights(1, 0)
    if levels.ndim != 2 or x.elements.size % levels.shape[1]:
        node.refuse(f"its weights {levels.shape} do not fit an input of {x.elements.size} "
                    "elements", "correct the model")
    outputs, depth = levels.shape
    if not node.attribute("KeepNumDims") and x.elements.size != depth:
        node.refuse(f"it makes {x.elements.size // depth} rows of every input", "the batch must "
                    "stay the first dimension: set keep_num_dims")
    scale = builder.slot(x).cell.value.scale * scales
    rows = x.rearranged(x.elements.reshape(-1, depth))
    if rows.shape[0] == 1:
        rows = builder.distinct(node, rows)
        levels, shape = flat_weights(builder, node, rows, levels), (1, 1, outputs)
    else:
        rows, size = pixels(builder, node, rows)
        levels, shape = levels[:, None, None], (*size, outputs)
    draft = FullyConnectedDraft(**builder.labels(node, rows.tensor), weights=levels,
                                scale=scale, bias=node.bias(2, outputs), clamps=node.clamps())
    result = add_draft(builder, node, draft, shape)
    axes = x.shape[:-1] if node.attribute("KeepNumDims") else ()
    return result.rearranged(result.elements.reshape(*axes, outputs))


HANDLERS = {"CONV_2D": conv_2d, "DEPTHWISE_CONV_2D": depthwise_conv_2d,
            "TRANSPOSE_CONV": transpose_conv, "FULLY_CONNECTED": fully_connected}
