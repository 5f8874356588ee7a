"""AVERAGE_POOL_2D, MAX_POOL_2D and the mean over height and width.

References
----------
``tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h`` and
``tensorflow/lite/kernels/internal/reference/reduce.h``.
"""

import math

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import PoolDraft
from systolith.sw.importer.geometry import read_geometry
from systolith.sw.importer.tflite.convolution import window
from systolith.sw.importer.tflite.drafts import MeanDraft
from systolith.sw.importer.tflite.layout import whole
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
    x = whole(builder, node, node.feature_map())
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


def mean(builder: Builder, node: Operation) -> Value:
    """Import MEAN over height, width or both."""
    x = whole(builder, node, node.feature_map())
    rank = len(x.shape) + 1
    axes = sorted({axis % rank for axis in node.whole_numbers(1, "list of axes")})
    if rank not in (3, 4) or not axes or not set(axes) <= set(range(1, rank - 1)):
        node.refuse(f"it reduces the axes {axes} of {rank}",
                    "only the mean over height, width or both is supported")
    source = as_map(builder, node, x.rearranged(x.elements.reshape((1, *x.shape)[-3:])))
    *sizes, channels = source.shape
    kernel = tuple(n if axis + rank - 4 in axes else 1 for axis, n in enumerate(sizes, 1))
    draft = MeanDraft(**builder.labels(node, source.tensor), kernel=kernel)
    result = add_draft(builder, node, draft, (
        *(n - k + 1 for n, k in zip(sizes, kernel, strict=True)), channels))
    kept = [1 if axis in axes else n for axis, n in enumerate(x.shape, 1)
            if node.attribute("KeepDims") or axis not in axes]
    return result.rearranged(result.elements.reshape(kept))


HANDLERS = {"AVERAGE_POOL_2D": average_pool, "MAX_POOL_2D": max_pool, "MEAN": mean}
