"""Resize in mode linear, by whole factors: a depthwise transposed convolution of a tent."""

import math

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import TransposedDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Activation, Value

__all__ = ["resize_linearly"]

_HALF_PIXEL = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")


def resize_linearly(builder: Builder, node: Node, x: Activation, factors: list[int]) -> Value:
    """Return x made larger by whole factors, one for each axis of its batchless shape.

    Every pixel spreads a tent over its surroundings. The map's edge is repeated by one pixel,
    which is what clamping positions to the map comes to.
    """
    if len(factors) not in (2, 3) or factors[0] != 1:
        node.refuse("it interpolates between channels or in more than two dimensions",
                    "resize height and width only")
    tents = [_tent(node, factor) for factor in factors[1:]]
    edges = [(0, 0), *((int(factor > 1),) * 2 for factor in factors[1:])]
    x = builder.whole(node, x)
    source = builder.as_map(node, x.rearranged(np.pad(x.elements, edges, mode="edge")))
    if len(factors) == 2:
        factors, tents = [1, *factors], [_tent(node, 1), *tents]
    _, high, wide_by = factors
    (rows, top), (columns, left) = tents
    taps = np.outer(rows, columns)
    if taps.max() > 127:
        node.refuse(f"its weights for factors of {high} and {wide_by} do not fit 8 bits",
                    "resize by smaller factors, or in two steps")
    h, w, channels = source.shape
    size = tuple((n - 2 * (factor > 1)) * factor
                 for n, factor in ((h, high), (w, wide_by)))
    unit = input_scale(builder, x) / (rows[0::high].sum() * columns[0::wide_by].sum())
    draft = TransposedDraft(
        **builder.labels(node, source.tensor), groups=channels, lift=True, size=size,
        weights=np.repeat(taps[None, :, :, None], channels, axis=0).astype(np.int8),
        bias=np.zeros(channels, np.int64), scale=np.full(channels, unit), stride=(high, wide_by),
        crop=tuple(before + factor * (factor > 1)
                   for before, factor in ((top, high), (left, wide_by))))
    return builder.add_draft(draft, (*size, channels), source.rank)


def _tent(node: Node, factor: int) -> tuple[np.ndarray, int]:
    """Return the whole numbers that a pixel is spread with, and how many results lie before it.

    Result o of an input i at distance ``t = o - factor * i`` has the weight ``1 - |d|``, with
    ``d = t / factor`` (asymmetric) or half a pixel less on both grids.
    """
    if factor == 1:
        return np.ones(1, np.int64), 0
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    t = np.arange(-factor, 2 * factor)
    if mode in _HALF_PIXEL:
        weights = 2 * factor - np.abs(2 * t + 1 - factor)
    elif mode == "asymmetric":
        weights = factor - np.abs(t)
    else:
        node.refuse(f"its coordinate_transformation_mode is {mode!r} in mode linear",
                    "use half_pixel, pytorch_half_pixel or asymmetric")
    inside = weights > 0
    weights = weights[inside]
    return weights // math.gcd(*map(int, weights)), -int(t[inside][0])
