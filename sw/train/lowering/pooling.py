"""Pools, forward and backward.

A maximum's windows that reach over the edge are smaller ones: those that are cut alike are nests of
their own, and the record of the winner counts the taps inside the map. Where windows overlap, what
each gives to its taps lies side by side in a map of its own first.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from systolith.sw.errors import UnsupportedError
from systolith.sw.nests import Loop
from systolith.sw.train.graph import AveragePool, MaxPool
from systolith.sw.train.lowering.elementwise import mask_delta, pixels
from systolith.sw.train.lowering.job import Job, blocks, windows
from systolith.sw.train.lowering.memory import Map
from systolith.sw.train.lowering.nests import ResultNest, Stream
from systolith.sw.train.lowering.scatter import Spread, scatter
from systolith.sw.train.numerics import coefficient
from systolith.sw.train.steps import AverageBackward, Forward, MaxBackward

__all__ = ["average", "average_backward", "maximum", "maximum_backward", "unpool"]


@dataclass(frozen=True, slots=True)
class _Run:
    """Windows that follow one another in one direction, all cut alike by the edges."""

    first: int
    count: int
    #: Taps inside the map.
    taps: range

    @property
    def windows(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + self.count)


def _runs(node: MaxPool, size: tuple[int, int], results: tuple[int, int]) -> Iterator[
        tuple[_Run, _Run]]:
    """Yield rows and columns of windows that are cut alike."""
    def along(axis: int) -> list[_Run]:
        kernel, stride, before = node.kernel[axis], node.stride[axis], node.pads[axis]
        found: list[_Run] = []
        for number in range(results[axis]):
            start = number * stride - before
            taps = range(max(0, -start), min(kernel, size[axis] - start))
            if not taps:
                raise UnsupportedError(node.name, [
                    "a window lies beyond the edge: padding must be less than the kernel"])
            if found and found[-1].taps == taps:
                found[-1] = _Run(found[-1].first, found[-1].count + 1, taps)
            else:
                found.append(_Run(number, 1, taps))
        return found

    return ((rows, columns) for rows in along(0) for columns in along(1))


def maximum(job: Job, item: Forward) -> None:
    """Past an identity tile; POST keeps the largest of each window, and its tap."""
    node, c = item.node, job.config
    assert isinstance(node, MaxPool)
    x, y = job.memory.maps[node.x], job.memory.maps[node.output]
    if any(y.halo):
        job.fill(y)
    for first in range(0, y.channels, c.columns):
        for down, across in _runs(node, x.shape[:2], y.shape[:2]):
            _maximum(job, item, first, down, across)
    job.complete(node.output, report=False)


def _maximum(job: Job, item: Forward, first: int, down: _Run, across: _Run) -> None:
    """Write the results of windows that are cut alike, the channels from one on."""
    node, c, maps = item.node, job.config, job.memory.maps
    x, y, (sy, sx) = maps[node.x], maps[node.output], node.stride
    kh, kw = len(down.taps), len(across.taps)
    columns = (across.count - 1) * sx + kw
    top, left = (run.first * stride - before + run.taps.start for run, stride, before in zip(
        (down, across), node.stride, node.pads, strict=False))
    record = None if item.record is None else maps[item.record].base - y.base
    for image, images, row, rows in windows(job.images, down.count, columns, c.accumulator_depth,
                                            kernel=kh, stride=sy):
        below = (rows - 1) * sy + kh
        job.add(job.diagonal_tiles())
        job.add(Stream(
            base=x.at(image, top + row * sy, left) + first, pass_level=3, group_level=3,
            tail=job.whole,
            loops=[Loop(columns, x.channels, 1), Loop(below, x.row, columns),
                   Loop(images, x.image, below * columns)]),
            ResultNest(
                base=y.at(image, down.first + row, across.first) + first, pool_level=2,
                rectify=node.rectify, record=record, counted=False,
                valid=min(c.columns, y.channels - first),
                loops=[Loop(kw, 0, 1), Loop(kh, 0, columns), Loop(across.count, y.channels, sx),
                       Loop(rows, y.row, sy * columns),
                       Loop(images, y.image, below * columns)]), reads=(node.x,))


def maximum_backward(job: Job, item: MaxBackward) -> None:
    """``dy`` past an identity tile; POST writes it at the tap of the record, zero at the others.

    Where windows overlap that is one image after the other, and their taps are added up behind it.
    """
    node, maps = item.node, job.memory.maps
    dx, (height, width, _) = maps[item.result], maps[item.dy].shape
    if item.apart is None:
        if (node.stride != node.kernel or any(node.pads) or any(dx.halo)
                or dx.shape[:2] != (height * node.kernel[0], width * node.kernel[1])):
            job.fill(dx)
        unpool(job, item, range(job.images), dx)
    else:
        apart = maps[item.apart]
        spread = Spread(
            dx=dx, kernel=node.kernel, stride=node.stride, pads=node.pads, dy=apart,
            windows=(height, width), source=item.apart, chunks=1, tail=job.config.rows,
            channelwise=True, apart=True,
            tiles=lambda _: job.diagonal_tiles(count=math.prod(node.kernel)))
        right = job.exponents[item.result] - item.sums(job.exponents)
        for image in range(job.images):
            unpool(job, item, range(image, image + 1), apart)
            job.complete(item.apart, report=False)
            scatter(job, item, spread, right=right, part=range(image, image + 1))
    job.complete(item.result)


def unpool(job: Job, item: MaxBackward, part: range, target: Map) -> None:
    """Write the gradient of some images to a map, from its first image on.

    The map is ``item.apart`` where there is one, and its elements are sums that nothing is done to.
    """
    node, c, dy = item.node, job.config, job.memory.maps[item.dy]
    for first in range(0, dy.channels, c.columns):
        for down, across in _runs(node, job.shapes[node.x][:2], dy.shape[:2]):
            _unpool(job, item, part, target, first, down, across)
        if item.apart is None:
            job.mark((item.result, f"channels from {first}"))


def _unpool(job: Job, item: MaxBackward, part: range, target: Map, first: int, down: _Run,
            across: _Run) -> None:
    """Write what windows that are cut alike give to their taps, the channels from one on."""
    node, c, maps = item.node, job.config, job.memory.maps
    dy, record, channels = maps[item.dy], maps[item.record], target.channels
    direct = item.apart is None
    (sy, sx), (top, left) = (node.stride, node.pads[:2]) if direct else (node.kernel, (0, 0))
    right = job.exponents[item.result] - item.sums(job.exponents) if direct else 0
    # the last is the largest: what follows runs while POST writes it
    for below, images, row, rows in reversed(
            blocks(len(part), down.count, across.count, c.accumulator_depth)):
        image, y = part.start + below, down.first + row
        job.add(job.diagonal_tiles())
        job.add(pixels(dy, (image, images, y, rows), first, job, across.windows), ResultNest(
            base=target.at(below, y * sy - top + down.taps.start,
                           across.first * sx - left + across.taps.start) + first,
            pool_level=2, comparing=True, counted=direct, right=right,
            operand=record.at(image, y, across.first) + first,
            mask=mask_delta(job, item) if direct else None,
            valid=min(c.columns, channels - first),
            loops=[Loop(len(across.taps), channels), Loop(len(down.taps), target.row),
                   Loop(across.count, sx * channels, 1, channels),
                   Loop(rows, sy * target.row, across.count, record.row),
                   Loop(images, target.image, rows * across.count, record.image)]),
                reads=(item.dy,))


def average(job: Job, item: Forward) -> None:
    """Every tap of a window times ``1 / count``."""
    node, c = item.node, job.config
    assert isinstance(node, AveragePool)
    x, y = job.memory.maps[node.x], job.memory.maps[node.output]
    (kh, kw), (sy, sx) = node.kernel, node.stride
    height, width, channels = y.shape
    scale = coefficient(1 / math.prod(node.kernel), operand=job.exponents[node.x],
                        result=job.exponents[item.result])
    if any(y.halo):
        job.fill(y)
    for first in range(0, channels, c.columns):
        for image, images, row, rows in blocks(job.images, height, width, c.accumulator_depth):
            job.add(job.diagonal_tiles(scale.factor, kh * kw))
            job.add(Stream(
                base=x.at(image, row * sy - node.pads[0], -node.pads[1]) + first, pass_level=3,
                group_level=5, tail=job.whole,
                loops=[Loop(width, sx * channels, 1), Loop(rows, sy * x.row, width),
                       Loop(images, x.image, rows * width), Loop(kw, channels),
                       Loop(kh, x.row)]),
                ResultNest(base=y.at(image, row) + first, right=scale.right,
                           valid=min(c.columns, channels - first),
                           loops=[Loop(width, channels, 1), Loop(rows, y.row, width),
                                  Loop(images, y.image, rows * width)]), reads=(node.x,))
    job.complete(node.output)


def average_backward(job: Job, item: AverageBackward) -> None:
    """``dy`` times ``1 / count``, added up under every tap."""
    node, dy = item.node, job.memory.maps[item.dy]
    scale = coefficient(1 / math.prod(node.kernel), operand=job.exponents[item.dy],
                        result=job.exponents[item.result])
    scatter(job, item, Spread(
        dx=job.memory.maps[item.result], kernel=node.kernel, stride=node.stride, pads=node.pads,
        dy=dy, windows=dy.shape[:2], source=item.dy, chunks=1, tail=job.config.rows,
        channelwise=True,
        tiles=lambda _: job.diagonal_tiles(scale.factor, math.prod(node.kernel))),
        right=scale.right)
    job.complete(item.result)
