"""Resize in mode linear: by whole factors a depthwise transposed convolution of a tent.

By others the host interpolates.
"""

import math

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.convolution import input_scale
from systolith.sw.importer.drafts import TransposedDraft
from systolith.sw.importer.hosted import BilinearDraft
from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Activation, Value

__all__ = ["resize_linearly"]

_HALF_PIXEL = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
_CORNERS, _CORNER = "align_corners", "asymmetric"


def resize_linearly(builder: Builder, node: Node, x: Activation, size: list[int],
                    factors: list[float]) -> Value:
    """Return x interpolated.

    Parameters
    ----------
    x : Activation
        The map, of axes (c, h, w) or (c, l).
    size : list of int
        Shape of the result.
    factors : list of float
        What each axis is multiplied by.
    """
    if len(size) not in (2, 3) or size[0] != x.shape[0]:
        node.refuse("it interpolates between channels or in more than two dimensions",
                    "resize height and width only")
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode not in (*_HALF_PIXEL, _CORNERS, _CORNER):
        node.refuse(f"its coordinate_transformation_mode is {mode!r} in mode linear",
                    f"use half_pixel, pytorch_half_pixel, {_CORNERS} or {_CORNER}")
    if mode != _CORNERS and all(factor >= 1 and factor == int(factor) for factor in factors):
        high, wide = ([1] * (3 - len(size)) + [int(factor) for factor in factors[1:]])[-2:]
        tents = [_tent(mode, factor) for factor in (high, wide)]
        if max(tents[0][0]) * max(tents[1][0]) <= 127:
            return _spread(builder, node, x, (high, wide), tents)
    return _between(builder, node, x, size, factors, mode)


def _between(builder: Builder, node: Node, x: Activation, size: list[int], factors: list[float],
             mode: str) -> Activation:
    """Return x as the host interpolates it."""
    if mode != _CORNERS and any(abs(n * factor - m) > 1e-3 for n, m, factor in zip(
            x.shape, size, factors, strict=True)):
        node.refuse(f"it resizes {list(x.shape)} to {size} by other factors than that: "
                    + ", ".join(f"{factor:g}" for factor in factors), "give it sizes, not scales")
    if node.attribute("antialias", 0) and any(m < n for n, m in zip(x.shape, size, strict=True)):
        node.refuse("it is smoothed while it is made smaller", "set antialias=0")
    if mode == "pytorch_half_pixel" and any(m == 1 < n for n, m in zip(
            x.shape, size, strict=True)):
        node.refuse("it keeps a single row or column", "take a mean instead")
    source = builder.as_map(node, builder.whole(node, x))
    *high, wide, channels = *size[1:], size[0]
    shape = (*(high or [1]), wide, channels)
    draft = BilinearDraft(**builder.labels(node, source.tensor), size=shape[:2], exact=True,
                          corners=mode == _CORNERS, half=mode in _HALF_PIXEL)
    return builder.add_draft(draft, shape, source.rank, like=x)


def _spread(builder: Builder, node: Node, x: Activation, factors: tuple[int, int],
            tents: list[tuple[np.ndarray, int]]) -> Activation:
    """Return x made larger by whole factors of height and width.

    Every pixel spreads a tent over its surroundings. The map's edge is repeated by one pixel,
    which is what clamping positions to the map comes to.
    """
    high, wide_by = factors
    x = builder.whole(node, x)
    edges = [(0, 0), *((int(factor > 1),) * 2 for factor in factors[3 - len(x.shape):])]
    source = builder.as_map(node, x.rearranged(np.pad(x.elements, edges, mode="edge")))
    (rows, top), (columns, left) = tents
    taps = np.outer(rows, columns)
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


def _tent(mode: str, factor: int) -> tuple[np.ndarray, int]:
    """Return the whole numbers that a pixel is spread with, and how many results lie before it.

    Result o of an input i at distance ``t = o - factor * i`` has the weight ``1 - |d|``, with
    ``d = t / factor`` (asymmetric) or half a pixel less on both grids.
    """
    if factor == 1:
        return np.ones(1, np.int64), 0
    t = np.arange(-factor, 2 * factor)
    if mode in _HALF_PIXEL:
        weights = 2 * factor - np.abs(2 * t + 1 - factor)
    else:
        weights = factor - np.abs(t)
    inside = weights > 0
    weights = weights[inside]
    return weights // math.gcd(*map(int, weights)), -int(t[inside][0])
