"""AVERAGE_POOL_2D, MAX_POOL_2D, and the mean and maximum over axes.

References
----------
``tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h`` and
``tensorflow/lite/kernels/internal/reference/reduce.h``.
"""

import math
from collections.abc import Callable

import numpy as np

from systolith.sw.importer.builder import Builder, Map
from systolith.sw.importer.drafts import Draft, PoolDraft
from systolith.sw.importer.geometry import read_geometry
from systolith.sw.importer.tflite.convolution import window
from systolith.sw.importer.tflite.drafts import MeanDraft, SumDraft
from systolith.sw.importer.tflite.operation import Operation, add_draft, as_map
from systolith.sw.importer.values import Value
from systolith.sw.numerics import average_multiplier

__all__ = ["HANDLERS"]


def max_pool(builder: Builder, node: Operation) -> Value:
    """Import MAX_POOL_2D."""
    return _pool(builder, node, "max")


def average_pool(builder: Builder, node: Operation) -> Value:
    """Import AVERAGE_POOL_2D; windows over the edge divide by what they hold."""
    return _pool(builder, node, "average")


def _pool(builder: Builder, node: Operation, mode: str) -> Value:
    x = builder.whole(node, node.feature_map())
    kernel = (node.attribute("FilterHeight"), node.attribute("FilterWidth"))
    source = as_map(builder, node, x)
    geometry = read_geometry(window(node), source, kernel)
    if builder.slot(x).cell.value != node.quantization():
        node.refuse("its result has another scale than its input", "TFLite pools on one scale: "
                    "convert the model again")
    if mode == "average":
        _check_count(node, math.prod(kernel))
    draft = PoolDraft(**builder.labels(node, source.tensor), mode=mode, kernel=kernel,
                      stride=geometry.stride, pads=geometry.pads, clamps=node.clamps())
    return add_draft(builder, node, draft, (*geometry.result, source.shape[2]))


def _check_count(node: Operation, count: int) -> None:
    try:
        average_multiplier(count)
    except ValueError as error:
        node.refuse(str(error), "use a smaller window")


def reduced(draft: Callable[[Builder, Operation, Map, tuple[int, ...]], Draft]
            ) -> Callable[[Builder, Operation], Value]:
    """Return the handler of an operator that makes one element of all along some axes.

    ``draft`` gets, beside builder and node, the map and the elements joined in each of its axes.
    """
    def handler(builder: Builder, node: Operation) -> Value:
        x = builder.whole(node, node.feature_map())
        rank = len(x.shape) + 1
        axes = sorted({axis % rank for axis in node.whole_numbers(1, "list of axes")})
        if rank not in (2, 3, 4) or not axes or 0 in axes:
            node.refuse(f"it reduces the axes {axes} of {rank}", "up to three axes behind the "
                        "batch can be reduced, the batch must stay")
        source = as_map(builder, node, x.rearranged(x.elements.reshape(
            (1,) * (4 - rank) + x.shape)))
        window = tuple(n if axis + rank - 4 in axes else 1
                       for axis, n in enumerate(source.shape, 1))
        result = add_draft(builder, node, draft(builder, node, source, window), tuple(
            n - k + 1 for n, k in zip(source.shape, window, strict=True)))
        kept = [1 if axis in axes else n for axis, n in enumerate(x.shape, 1)
                if node.attribute("KeepDims") or axis not in axes]
        return result.rearranged(result.elements.reshape(kept))
    return handler


def mean(builder: Builder, node: Operation, source: Map, window: tuple[int, ...]) -> Draft:
    """Average; over channels by a convolution with ones."""
    labels = builder.labels(node, source.tensor)
    *kernel, depth = window
    channels = source.shape[2]
    if depth == 1:
        return MeanDraft(**labels, kernel=tuple(kernel))
    scale = builder.slots[source.tensor].cell.value.scale
    return SumDraft(**labels, weights=np.ones((1, *kernel, channels), np.int8),
                    bias=np.zeros(1, np.int64), scale=np.array([scale]))


def maximum(builder: Builder, node: Operation, source: Map, window: tuple[int, ...]) -> Draft:
    """Take the maximum over height, width or both."""
    if window[2] > 1:
        node.refuse("it takes the maximum over channels", "only that over height, width or both "
                    "is supported: cut the model there and compute the rest on the host")
    if builder.slots[source.tensor].cell.value != node.quantization():
        node.refuse("its result has another scale than its input", "convert the model again")
    return PoolDraft(**builder.labels(node, source.tensor), mode="max", kernel=window[:2])


HANDLERS = {"AVERAGE_POOL_2D": average_pool, "MAX_POOL_2D": max_pool, "MEAN": reduced(mean),
            "REDUCE_MAX": reduced(maximum)}
