"""MaxPool, AveragePool, their global forms, ReduceMax, ReduceMean, and their quantised forms."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder, Map
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import ConvDraft, PoolDraft
from systolith.sw.importer.geometry import Geometry, read_geometry
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import unary_operator
from systolith.sw.importer.values import HOSTED, Activation, Value
from systolith.sw.importer.weights import UNIT

__all__ = ["HANDLERS"]


def max_pool(builder: Builder, node: Node) -> Value:
    """Import MaxPool; it works on integers and numbers alike and keeps their scale."""
    x = node.activation()
    if x.state in HOSTED:
        node.quantized()
    source = builder.as_map(node, x)
    geometry = _window(node, source)
    if geometry.dilation != (1, 1):
        node.refuse("it is dilated", "pool without dilation")
    if any(source.pads) and not _never_below_zero(builder, x):
        source = builder.as_map(node, builder.whole(node, x))  # zeros may be the largest
    return _max(builder, node, x, source, geometry)


def _max(builder: Builder, node: Node, x: Activation, source: Map,
         geometry: Geometry) -> Activation:
    pads = tuple(p + q for p, q in zip(source.pads, _all_pads(geometry), strict=True))
    draft = PoolDraft(**builder.labels(node, source.tensor), mode="max", kernel=geometry.kernel,
                      stride=geometry.stride, pads=pads)
    return builder.add_draft(draft, (*geometry.result, source.shape[2]), source.rank, like=x)


def average_pool(builder: Builder, node: Node) -> Value:
    """Import AveragePool, its padding counted or not."""
    x = node.quantized()
    source = builder.as_map(node, x)
    geometry = _window(node, source)
    counted = bool(node.attribute("count_include_pad", 0)) and any(geometry.pads)
    dilated = geometry.dilation != (1, 1)
    if not counted and not dilated and not any(source.pads):
        return _average(builder, node, source, geometry)
    if any(geometry.excess) or (any(geometry.pads) and not counted):
        if any(source.pads):
            return average_pool(builder, node.on(builder.whole(node, x)))
        node.refuse("it counts some padding and leaves out other (ceil_mode with "
                    "count_include_pad, or dilation)", "use one kind of padding, and ceil_mode=0")
    pads = tuple(p + q for p, q in zip(source.pads, geometry.pads, strict=True))
    return _sum_conv(builder, node, x, source, replace(geometry, pads=pads))


def global_average_pool(builder: Builder, node: Node) -> Value:
    """Import GlobalAveragePool: one window over the whole map."""
    if node.attribute("channels_last", 0):
        node.refuse("it is channels-last", "set channels_last=0")
    x = node.quantized()
    source = builder.as_map(node, x)
    h, w = (source.shape[i] + source.pads[i] + source.pads[i + 2] for i in (0, 1))
    geometry = Geometry((h, w), (1, 1), (1, 1), source.pads, (0, 0), (1, 1))
    if any(source.pads):
        return _sum_conv(builder, node, x, source, geometry)
    return _average(builder, node, source, geometry)


def reduce_mean(builder: Builder, node: Node) -> Value:
    """Import ReduceMean over channels, height, width or some of them."""
    x = node.quantized()
    axes = _axes(node, x)
    if axes[0] == 1:
        result = _channel_mean(builder, node, x, axes)
    elif axes == list(range(2, len(x.shape) + 1)):
        result = global_average_pool(builder, node)
    else:
        result = _average(builder, node, *_lines(builder, node, x, axes))
    return _kept(node, result, axes)


def reduce_max(builder: Builder, node: Node) -> Value:
    """Import ReduceMax over channels, height, width or some of them."""
    x = node.activation()
    if x.state in HOSTED:
        node.quantized()
    axes = _axes(node, x)
    if axes[0] == 1:
        return _kept(node, _channel_max(builder, node, x, axes), axes)
    source, geometry = _lines(builder, node, x, axes)
    return _kept(node, _max(builder, node, x, source, geometry), axes)


def global_max_pool(builder: Builder, node: Node) -> Value:
    """Import GlobalMaxPool."""
    x = node.activation()
    if x.state in HOSTED:
        node.quantized()
    axes = range(2, len(x.shape) + 1)
    return _max(builder, node, x, *_lines(builder, node, x, axes))


def _axes(node: Node, x: Activation) -> list[int]:
    """Return the axes that are reduced; the batch must not be among them."""
    rank = len(x.shape) + 1
    axes = node.integers(1, "axes", "list of axes")
    axes = sorted({axis % rank for axis in axes or ()})
    if rank < 2 or not axes or axes[0] < 1:
        node.refuse("it reduces the batch", "name the axes behind it")
    return axes


def _lines(builder: Builder, node: Node, x: Activation,
           axes: Sequence[int]) -> tuple[Map, Geometry]:
    """Return x as a map and windows over all of its height, its width or both."""
    source = builder.as_map(node, builder.whole(node, x))
    spatial = [axis + 1 - source.rank for axis in axes]          # 0: height, 1: width
    kernel = tuple(n if i in spatial else 1 for i, n in enumerate(source.shape[:2]))
    size = tuple(n - k + 1 for n, k in zip(source.shape, kernel, strict=False))
    return source, Geometry(kernel, (1, 1), (1, 1), (0, 0, 0, 0), (0, 0), size)


def _channel_max(builder: Builder, node: Node, x: Activation, axes: list[int]) -> Activation:
    """Return the maximum over some axes, of which the channels are one.

    What is compared becomes a row of pixels, which the host sees to; all others are its channels.
    """
    reduced = [axis - 1 for axis in axes]
    others = [axis for axis in range(len(x.shape)) if axis not in reduced]
    x = builder.whole(node, x)
    row = x.elements.transpose(*reduced, *others).reshape(
        1, math.prod(x.shape[axis] for axis in reduced), -1)
    draft = PoolDraft(**builder.labels(node, builder.pin(node, x, row)), mode="max",
                      kernel=(1, row.shape[1]))
    result = builder.add_draft(draft, (1, 1, row.shape[2]), 3, like=x)
    return result.rearranged(np.arange(row.shape[2]).reshape(
        [1 if axis in reduced else n for axis, n in enumerate(x.shape)]))


def _kept(node: Node, result: Activation, axes: list[int]) -> Activation:
    """Return a result without the axes that were reduced, if it is not to keep them."""
    if node.attribute("keepdims", 1):
        return result
    return result.rearranged(result.elements.squeeze(tuple(axis - 1 for axis in axes)))


def _channel_mean(builder: Builder, node: Node, x: Activation, axes: list[int]) -> Activation:
    """Average over the channels, and over height and width if they are among the axes."""
    rank, x = len(x.shape), builder.whole(node, x)
    # a vector is a map of one pixel
    source = builder.as_map(node, x.rearranged(x.elements.reshape(
        x.shape if rank > 1 else (-1, 1))))
    spatial = [axis + 3 - rank for axis in axes if axis > 1]     # 2: height, 3: width
    kernel = tuple(n if axis in spatial else 1
                   for axis, n in zip((2, 3), source.shape, strict=False))
    size = tuple(n - k + 1 for n, k in zip(source.shape, kernel, strict=False))
    count = math.prod(kernel) * source.shape[2]
    draft = ConvDraft(
        **builder.labels(node, source.tensor), lift=True, bias=np.zeros(1, np.int64),
        weights=np.full((1, *kernel, source.shape[2]), UNIT, np.int8),
        scale=np.full(1, input_scale(builder, x) / (UNIT * count)))
    result = builder.add_draft(draft, (*size, 1), source.rank)
    return result.rearranged(result.elements.reshape(
        [1 if axis in axes else n for axis, n in enumerate(x.shape, 1)]))


def _average(builder: Builder, node: Node, source: Map,
             geometry: Geometry) -> Activation:
    """Average what lies on the map; windows over its edge divide by what they hold."""
    draft = PoolDraft(**builder.labels(node, source.tensor), mode="average",
                      kernel=geometry.kernel, stride=geometry.stride, pads=_all_pads(geometry))
    return builder.add_draft(draft, (*geometry.result, source.shape[2]), source.rank)


def _sum_conv(builder: Builder, node: Node, x: Activation, source: Map,
              geometry: Geometry) -> Activation:
    """Average with the padding's zeros counted: a depthwise convolution."""
    channels = source.shape[2]
    weights = np.full((channels, *geometry.kernel, 1), UNIT, np.int8)
    draft = ConvDraft(
        **builder.labels(node, source.tensor), weights=weights, groups=channels, lift=True,
        stride=geometry.stride, pads=geometry.pads, dilation=geometry.dilation,
        bias=np.zeros(channels, np.int64),
        scale=np.full(channels, input_scale(builder, x) / (UNIT * math.prod(geometry.kernel))))
    return builder.add_draft(draft, (*geometry.result, channels), source.rank)


def _window(node: Node, source: Map) -> Geometry:
    kernel = node.attribute("kernel_shape")
    if not kernel:
        node.refuse("it has no kernel_shape", "correct the model")
    if node.attribute("channels_last", 0):
        node.refuse("it is channels-last", "set channels_last=0")
    geometry = read_geometry(node, source, kernel)
    if any(p >= k for p, k in zip(geometry.pads, geometry.kernel * 2, strict=True)):
        node.refuse("its padding is as wide as its window", "reduce the padding")
    return geometry


def _all_pads(geometry: Geometry) -> tuple[int, int, int, int]:
    top, left, bottom, right = geometry.pads
    return top, left, bottom + geometry.excess[0], right + geometry.excess[1]


def _never_below_zero(builder: Builder, x: Activation) -> bool:
    """Tell whether Relu bounds a map, or its quantisation knows no negative numbers."""
    slot = builder.slot(x)
    if slot.cell.value is not None and slot.cell.value.zero_point == -128:
        return True
    return slot.draft is not None and any(
        clamp.real and clamp.low >= 0 for clamp in slot.draft.clamps)


HANDLERS = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "ReduceMax": reduce_max,
    "ReduceMean": reduce_mean,
    "QLinearAveragePool": unary_operator(average_pool),
    "QLinearGlobalAveragePool": unary_operator(global_average_pool),
}
