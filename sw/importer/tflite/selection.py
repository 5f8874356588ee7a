"""Slices, SPLIT, GATHER and RESIZE_NEAREST_NEIGHBOR: free until a map of its own is needed.

References
----------
``tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h`` and
``tensorflow/lite/kernels/internal/strided_slice_logic.h``.
"""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.selection import split_at
from systolith.sw.importer.tflite.layout import arranged
from systolith.sw.importer.tflite.operation import Operation, check_size
from systolith.sw.importer.tflite.shapes import slice_of_sizes
from systolith.sw.importer.values import Activation, Value

__all__ = ["HANDLERS"]

_BATCH = "the batch must stay whole"


def strided_slice(builder: Builder, node: Operation) -> Value:
    """Import STRIDED_SLICE, of a map or of a list of sizes."""
    if not isinstance(node.operand(0), Activation):
        return slice_of_sizes(node)
    return arranged(_strided)(builder, node)


def _strided(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    begin, end, stride = (node.whole_numbers(i, what) for i, what in
                          ((1, "begin"), (2, "end"), (3, "stride")))
    masks = {name: node.attribute(f"{name}Mask") for name in (
        "Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")}
    rank = elements.ndim + 1
    if masks["Ellipsis"] or masks["NewAxis"] or not (
            len(begin) == len(end) == len(stride) <= rank) or 0 in stride:
        node.refuse("it slices with an ellipsis or new axes", "convert the model with begin, end "
                    "and stride of every axis")
    ranges: list[slice | int] = [slice(None)] * rank
    for i in range(len(begin)):
        length = builder.batch if i == 0 else elements.shape[i - 1]
        first = None if masks["Begin"] >> i & 1 else begin[i]
        # below the first element, -1 would mean the last
        last = None if masks["End"] >> i & 1 or end[i] < -length else end[i]
        ranges[i] = slice(first, last, stride[i])
        if masks["ShrinkAxis"] >> i & 1:
            if not -length <= begin[i] < length:
                node.refuse(f"it takes element {begin[i]} of {length}", "correct the model")
            ranges[i] = begin[i]
    return _sliced(builder, node, elements, ranges)


def slice_(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Take ``size`` elements of each axis, from ``begin`` on; -1 takes the rest."""
    begin, size = node.whole_numbers(1, "begin"), node.whole_numbers(2, "size")
    if not len(begin) == len(size) == elements.ndim + 1 or min(begin) < 0:
        node.refuse(f"it slices {len(begin)} axes of {elements.ndim + 1}", "correct the model")
    ranges = [slice(first, None if count == -1 else first + count)
              for first, count in zip(begin, size, strict=True)]
    return _sliced(builder, node, elements, ranges)


def _sliced(builder: Builder, node: Operation, elements: np.ndarray,
            ranges: list[slice | int]) -> np.ndarray:
    batch = range(builder.batch)
    if not isinstance(ranges[0], slice) or batch[ranges[0]] != batch:
        node.refuse("it slices the batch", _BATCH)
    elements = elements[tuple(ranges[1:])]
    if not elements.size:
        node.refuse("nothing is left of its input", "correct the model")
    return elements


def gather(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Take constant indices of an axis."""
    indices = np.array(node.whole_numbers(1, "list of indices"))
    axis = node.attribute("Axis") % (elements.ndim + 1)
    if axis == 0 or node.attribute("BatchDims"):
        node.refuse("it gathers along the batch", _BATCH)
    if not indices.size or not 0 <= indices.min() <= indices.max() < elements.shape[axis - 1]:
        node.refuse(f"an index is outside the {elements.shape[axis - 1]} there are",
                    "correct the model")
    return elements.take(indices.reshape(np.shape(node.operand(1).array)), axis=axis - 1)


def resize_nearest(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Resize height and width to the nearest pixel, by any factors."""
    size = node.whole_numbers(1, "size")
    if elements.ndim != 3 or len(size) != 2 or min(size) < 1:
        node.refuse("it needs a map of height, width, channels and a size for the first two",
                    "correct the model")
    for axis, length in enumerate(size):
        check_size(node, elements.size // elements.shape[axis], length)
        elements = elements.take(_nearest(node, elements.shape[axis], length), axis=axis)
    return elements


def _nearest(node: Operation, length: int, size: int) -> np.ndarray:
    """Return the element of ``length`` that each of ``size`` results is, in float32."""
    corners = bool(node.attribute("AlignCorners"))
    half = np.float32(0.5 if node.attribute("HalfPixelCenters") else 0)
    scale = np.float32(length - 1) / np.float32(size - 1) if corners and size > 1 else (
        np.float32(length) / np.float32(size))
    at = (np.arange(size, dtype=np.float32) + half) * scale
    nearest = np.floor(at + np.float32(0.5)) if corners else np.floor(at)
    return np.clip(nearest.astype(np.int64), 0, length - 1)


def split(builder: Builder, node: Operation) -> Value | tuple[Value, ...]:
    """Import SPLIT into equal parts: axis, map."""
    x, axis = node.feature_map(1), _axis(node, 0, 1)
    length, count = x.shape[axis], node.outputs
    if length % count:
        node.refuse(f"{count} parts do not divide {length} elements", "correct the model")
    return _split(builder, node, x, axis, [length // count] * count)


def split_v(builder: Builder, node: Operation) -> Value | tuple[Value, ...]:
    """Import SPLIT_V: map, lengths of the parts (one may be -1, the rest), axis."""
    x, axis = node.feature_map(0), _axis(node, 2, 0)
    lengths = node.whole_numbers(1, "list of lengths")
    rest = x.shape[axis] - sum(n for n in lengths if n != -1)
    lengths = [rest if n == -1 else n for n in lengths]
    if sum(lengths) != x.shape[axis] or min(lengths) < 1:
        node.refuse(f"its parts {lengths} are not the {x.shape[axis]} elements there are",
                    "correct the model")
    return _split(builder, node, x, axis, lengths)


def _axis(node: Operation, operand: int, source: int) -> int:
    rank = len(node.feature_map(source).shape) + 1
    axis = node.whole_numbers(operand, "axis")[0] % rank
    if axis == 0:
        node.refuse("it splits the batch", _BATCH)
    return axis - 1


def _split(builder: Builder, node: Operation, x: Activation, axis: int,
           lengths: list[int]) -> tuple[Value, ...]:
    if builder.slot(x).cell.value != node.quantization():
        node.refuse("its result has another scale than its input", "convert the model again")
    return split_at(x, axis, lengths)


HANDLERS = {
    "STRIDED_SLICE": strided_slice,
    "SLICE": arranged(slice_),
    "GATHER": arranged(gather),
    "RESIZE_NEAREST_NEIGHBOR": arranged(resize_nearest),
    "SPLIT": split,
    "SPLIT_V": split_v,
}
