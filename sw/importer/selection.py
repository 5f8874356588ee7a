"""Slice, Split, Gather and Resize: which elements go on, free until a map of its own is needed."""

import math
from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.layout import layout
from systolith.sw.importer.node import Node
from systolith.sw.importer.resizing import resize_linearly
from systolith.sw.importer.values import HOSTED, Activation, Value

__all__ = ["HANDLERS", "split_at"]

_BATCH = "the batch must stay whole"
#: Elements of a resized map, far above what any device holds.
_LARGEST = 1 << 23


def slice_(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Take a range of each axis."""
    starts, ends = (node.integers(i, what, what) for i, what in ((1, "starts"), (2, "ends")))
    if starts is None or ends is None:
        node.refuse("it lacks an operand", "correct the model")
    axes = node.integers(3, "axes", "list of axes") or list(range(len(starts)))
    steps = node.integers(4, "steps", "list of steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        node.refuse("its starts, ends, axes and steps do not match", "correct the model")
    ranges = [slice(None)] * (elements.ndim + 1)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -len(ranges) <= axis < len(ranges):
            node.refuse(f"it slices axis {axis} of {len(ranges)}", "correct the model")
        # below the first element, -1 would mean the last
        floor = -builder.batch if axis == 0 else -elements.shape[axis % len(ranges) - 1]
        ranges[axis] = slice(start, None if step < 0 and end < floor else end, step)
    if range(builder.batch)[ranges[0]] != range(builder.batch):
        node.refuse("it slices the batch", _BATCH)
    return _some(node, elements[tuple(ranges[1:])])


def gather(builder: Builder, node: Node, elements: np.ndarray) -> np.ndarray:
    """Take constant indices of an axis."""
    rank = elements.ndim + 1
    axis = node.attribute("axis", 0) % rank
    indices = node.constant(1, "list of indices")
    if axis == 0:
        node.refuse("it gathers along the batch", _BATCH)
    length = elements.shape[axis - 1]
    if indices.size and not -length <= indices.min() <= indices.max() < length:
        node.refuse(f"an index is outside the {length} there are", "correct the model")
    return _some(node, np.take(elements, indices.astype(np.int64), axis=axis - 1))


def _some(node: Node, elements: np.ndarray) -> np.ndarray:
    """Refuse an empty result."""
    if not elements.size:
        node.refuse("nothing is left of its input", "correct the model")
    return elements


def split(builder: Builder, node: Node) -> Value | tuple[Value, ...]:
    """Import Split into parts that are given or (nearly) equal."""
    x = node.activation()
    rank = len(x.shape) + 1
    axis = node.attribute("axis", 0) % rank
    if axis == 0:
        node.refuse("it splits the batch", _BATCH)
    length = x.shape[axis - 1]
    lengths = node.integers(1, "split", "list of lengths")
    if lengths is None:
        count = node.attribute("num_outputs", node.outputs)
        each = -(-length // count)
        lengths = [max(0, min(each, length - i * each)) for i in range(count)]
    if sum(lengths) != length or min(lengths) < 1:
        node.refuse(f"its parts {lengths} are not the {length} elements there are",
                    "correct the model")
    return split_at(x, axis - 1, lengths)


def split_at(x: Activation, axis: int, lengths: list[int]) -> tuple[Activation, ...]:
    """Return consecutive parts of x along an axis of its batchless shape."""
    parts = np.split(x.elements, np.cumsum(lengths)[:-1], axis=axis)
    return tuple(replace(x, elements=part, exclusive=x.exclusive and len(parts) == 1)
                 for part in parts)


def resize(builder: Builder, node: Node) -> Value:
    """Import Resize: to the nearest element by any factors, linear by whole ones."""
    x = node.activation()
    if node.attribute("mode", "nearest") == "linear":
        return _linear(builder, node)
    if node.attribute("mode", "nearest") != "nearest":
        node.refuse(f"its mode is {node.attribute('mode')!r}", "the modes 'nearest' and 'linear' "
                    "are supported; train with one of them")
    if x.state in HOSTED:
        node.quantized()
    rank = len(x.shape) + 1
    axes = [int(axis) % rank for axis in node.attribute("axes", range(rank))]
    elements = x.elements
    sizes, scales = _target(node, axes, [builder.batch, *x.shape])
    for axis, size, scale in zip(axes, sizes, scales, strict=True):
        if axis == 0:
            if size != builder.batch:
                node.refuse("it resizes the batch", _BATCH)
            continue
        if elements.size // elements.shape[axis - 1] * size > _LARGEST:
            node.refuse(f"a result of {' x '.join(map(str, sizes))} is too large",
                        f"there may be {_LARGEST} elements: correct the model")
        indices = _nearest(node, elements.shape[axis - 1], size, np.float32(scale))
        elements = elements.take(indices, axis=axis - 1)
    return x.rearranged(elements)


def _linear(builder: Builder, node: Node) -> Value:
    """Import Resize in mode linear."""
    x = node.quantized()
    rank = len(x.shape) + 1
    axes = [int(axis) % rank for axis in node.attribute("axes", range(rank))]
    sizes, scales = _target(node, axes, [builder.batch, *x.shape])
    if node.attribute("exclude_outside", 0):
        node.refuse("it leaves out what is beyond the edge", "set exclude_outside=0")
    lengths, factors = (dict(zip(axes, values, strict=True)) for values in (sizes, scales))
    if lengths.get(0, builder.batch) != builder.batch:
        node.refuse("it resizes the batch", _BATCH)
    size = [lengths.get(axis, length) for axis, length in enumerate(x.shape, 1)]
    if math.prod(size) > _LARGEST:
        node.refuse(f"a result of {' x '.join(map(str, sizes))} is too large",
                    f"there may be {_LARGEST} elements: correct the model")
    return resize_linearly(builder, node, x, size,
                           [factors.get(axis, 1.0) for axis in range(1, rank)])


def _target(node: Node, axes: list[int], shape: list[int]) -> tuple[list[int], list[float]]:
    """Return the length and the factor of every axis that is resized."""
    lengths = [shape[axis] for axis in axes]
    scales, sizes = (None if node.operand(i) is None else node.constant(i, what).ravel()
                     for i, what in ((2, "list of scales"), (3, "list of sizes")))
    if sizes is not None and sizes.size == len(axes) and min(sizes) > 0:
        policy = node.attribute("keep_aspect_ratio_policy", "stretch")
        if policy in _POLICIES:
            scale = float(_POLICIES[policy](sizes / np.array(lengths)))
            return [int(np.floor(scale * length + 0.5)) for length in lengths], [scale] * len(axes)
        if policy != "stretch":
            node.refuse(f"its keep_aspect_ratio_policy is {policy!r}",
                        "ONNX knows stretch, not_larger and not_smaller")
        return [int(n) for n in sizes], [n / length for n, length in zip(
            sizes, lengths, strict=True)]
    if scales is None or scales.size != len(axes) or not (scales > 0).all():
        node.refuse(f"it gives no size for each of {len(axes)} axes", "correct the model")
    sizes = [int(np.floor(np.float32(length) * scale)) for length, scale in zip(
        lengths, scales, strict=True)]
    if min(sizes) < 1:
        node.refuse("nothing is left of its input", "correct the model")
    return sizes, [float(scale) for scale in scales]


def _nearest(node: Node, length: int, size: int, scale: np.float32) -> np.ndarray:
    """Return the element of ``length`` that each of ``size`` results is, in float32 as ONNX has it.

    Source: the operator's specification (``onnx/docs/Operators.md``, Resize).
    """
    if length == size and scale == 1:
        return np.arange(size)
    i, half = np.arange(size, dtype=np.float32), np.float32(0.5)
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and size > 1):
        at = (i + half) / scale - half
    elif mode == "asymmetric":
        at = i / scale
    elif mode == "align_corners" and size > 1:
        at = i * np.float32(length - 1) / np.float32(size - 1)
    elif mode in ("align_corners", "pytorch_half_pixel"):
        at = np.zeros(1, np.float32)
    elif mode == "tf_half_pixel_for_nn":
        at = (i + half) / scale
    else:
        node.refuse(f"its coordinate_transformation_mode is {mode!r}", "use half_pixel, "
                    "asymmetric, align_corners or pytorch_half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    if rounding not in _ROUNDINGS:
        node.refuse(f"its nearest_mode is {rounding!r}", "ONNX knows " + ", ".join(_ROUNDINGS))
    return np.clip(_ROUNDINGS[rounding](at).astype(np.int64), 0, length - 1)


_ROUNDINGS = {
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}

#: How the factors of several axes become one.
_POLICIES = {"not_larger": np.min, "not_smaller": np.max}

HANDLERS = {
    "Slice": layout(slice_),
    "Gather": layout(gather),
    "Split": split,
    "Resize": resize,
}
