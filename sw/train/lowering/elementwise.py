"""Items that move elements past a diagonal tile: pools, additions, updates."""

import math
from dataclasses import replace

from systolith.sw.errors import UnsupportedError
from systolith.sw.nests import Loop
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Add, AveragePool, MaxPool, Rectify
from systolith.sw.train.lowering.job import Job, blocks, windows
from systolith.sw.train.lowering.memory import Map, padded
from systolith.sw.train.lowering.nests import ResultNest, Stream
from systolith.sw.train.lowering.scatter import Spread, scatter
from systolith.sw.train.numerics import coefficient
from systolith.sw.train.steps import (
    AverageBackward,
    Forward,
    GradientSum,
    Item,
    MaxBackward,
    gradient_of,
)

__all__ = ["addition", "average", "average_backward", "gradient_sum", "mask_delta", "maximum",
           "maximum_backward", "rectification", "unpool", "update", "walk"]


#: Most sums of a group of an update: POST waits for the first group of every parameter.
_BLENDED = 384


def _unsupported(name: str, what: str) -> UnsupportedError:
    return UnsupportedError(name, [f"{what} does not run on the accelerator yet"])


def maximum(job: Job, item: Forward) -> None:
    """Past an identity tile; POST keeps the largest of each window, and its tap."""
    node, c = item.node, job.config
    assert isinstance(node, MaxPool)
    if any(node.pads):
        raise _unsupported(node.name, "a maximum whose windows reach over the edge")
    x, y = job.memory.maps[node.x], job.memory.maps[node.output]
    (kh, kw), (sy, sx) = node.kernel, node.stride
    height, width, channels = y.shape
    columns = (width - 1) * sx + kw
    record = None if item.record is None else job.memory.maps[item.record].base - y.base
    if any(y.halo):
        job.fill(y)
    for first in range(0, channels, c.columns):
        for image, images, row, rows in windows(job.images, height, columns, c.accumulator_depth,
                                                kernel=kh, stride=sy):
            below = (rows - 1) * sy + kh
            job.add(job.diagonal_tiles())
            job.add(Stream(
                base=x.at(image, row * sy) + first, pass_level=3, group_level=3, tail=job.whole,
                loops=[Loop(columns, channels, 1), Loop(below, x.row, columns),
                       Loop(images, x.image, below * columns)]),
                ResultNest(
                    base=y.at(image, row) + first, pool_level=2, rectify=node.rectify,
                    record=record, counted=False, valid=min(c.columns, channels - first),
                    loops=[Loop(kw, 0, 1), Loop(kh, 0, columns), Loop(width, channels, sx),
                           Loop(rows, y.row, sy * columns),
                           Loop(images, y.image, below * columns)]), reads=(node.x,))
    job.complete(node.output, report=False)


def maximum_backward(job: Job, item: MaxBackward) -> None:
    """``dy`` past an identity tile; POST writes it at the tap of the record, zero at the others."""
    node = item.node
    (kh, kw), (sy, sx) = node.kernel, node.stride
    if sy < kh or sx < kw:
        raise _unsupported(node.name, "the gradient of a maximum whose windows overlap")
    dx, (height, width, _) = job.memory.maps[item.result], job.memory.maps[item.dy].shape
    if (sy, sx) != (kh, kw) or dx.shape[:2] != (height * kh, width * kw) or any(dx.halo):
        job.fill(dx)
    unpool(job, item, range(job.images), dx)
    job.complete(item.result)


def unpool(job: Job, item: MaxBackward, part: range, dx: Map) -> None:
    """Write the gradient of some images to ``dx``, from its first image on."""
    c, dy, record = job.config, job.memory.maps[item.dy], job.memory.maps[item.record]
    (kh, kw), (sy, sx) = item.node.kernel, item.node.stride
    height, width, channels = dy.shape
    for first in range(0, channels, c.columns):
        # the last is the largest: what follows runs while POST writes it
        for below, images, row, rows in reversed(
                blocks(len(part), height, width, c.accumulator_depth)):
            image = part.start + below
            job.add(job.diagonal_tiles())
            job.add(_pixels(dy, (image, images, row, rows), first, job), ResultNest(
                base=dx.at(below, row * sy) + first, pool_level=2, comparing=True,
                operand=record.at(image, row) + first, mask=mask_delta(job, item),
                right=job.exponents[item.result] - item.sums(job.exponents),
                valid=min(c.columns, channels - first),
                loops=[Loop(kw, channels), Loop(kh, dx.row),
                       Loop(width, sx * channels, 1, channels),
                       Loop(rows, sy * dx.row, width, record.row),
                       Loop(images, dx.image, rows * width, record.image)]), reads=(item.dy,))
        job.mark((item.result, f"channels from {first}"))


def mask_delta(job: Job, item: Item) -> int | None:
    """Return how far an item's mask lies from its result, or None without one."""
    maps = job.memory.maps
    return None if item.mask is None else maps[item.mask].base - maps[item.result].base


def _pixels(source: Map, part: tuple[int, int, int, int], first: int, job: Job) -> Stream:
    """Return some rows of a map, the channels from one on."""
    image, images, row, rows = part
    width = source.shape[1]
    return Stream(base=source.at(image, row) + first, pass_level=3, group_level=3, tail=job.whole,
                  loops=[Loop(width, source.channels, 1), Loop(rows, source.row, width),
                         Loop(images, source.image, rows * width)])


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
    node = item.node
    scale = coefficient(1 / math.prod(node.kernel), operand=job.exponents[item.dy],
                        result=job.exponents[item.result])
    scatter(job, item, Spread(
        dx=job.memory.maps[item.result], kernel=node.kernel, stride=node.stride, pads=node.pads,
        dy=job.memory.maps[item.dy], chunks=1, tail=job.config.rows, channelwise=True,
        tiles=lambda _: job.diagonal_tiles(scale.factor, math.prod(node.kernel))),
        right=scale.right)


def addition(job: Job, item: Forward) -> None:
    """Add two tensors."""
    assert isinstance(item.node, Add)
    _sum(job, item, item.node.inputs, rectify=item.node.rectify)


def gradient_sum(job: Job, item: GradientSum) -> None:
    """Add the gradients of several readers, or mask one."""
    _sum(job, item, item.parts, rectify=False)


def rectification(job: Job, item: Forward) -> None:
    """Write the positive elements of a tensor, zero for the others."""
    assert isinstance(item.node, Rectify)
    walk(job, item, item.node.x, ResultNest(
        base=0, loops=[], valid=1, rectify=True, counted=False))
    job.complete(item.result, report=False)


def _sum(job: Job, item: Forward | GradientSum, names: tuple[str, ...], *, rectify: bool) -> None:
    """Add tensors: the finest through the array, the other one as the operand of POST."""
    scale = item.sums(job.exponents)
    kept = sorted((name for name in names if job.exponents[name] >= scale),
                  key=lambda name: job.exponents[name])
    if len(kept) > 2:
        raise _unsupported(item.result, "a sum of more than two tensors")
    form = ResultNest(base=0, loops=[], valid=1, rectify=rectify, mask=mask_delta(job, item),
                      right=job.exponents[item.result] - scale)
    form.left = job.exponents[kept[-1]] - scale
    alone = len(kept) == 1 and form.left > 0     # the other one is far below its steps
    if alone:
        kept = kept * 2
    walk(job, item, *kept, form, empty=alone)
    job.complete(item.result)


def walk(job: Job, item: Item, *operands, empty: bool = False) -> None:
    """Stream a map (or zeros) past an identity tile; a second one is the addend of its results."""
    *names, form = operands
    c, y = job.config, job.memory.maps[item.result]
    x = job.memory.maps[names[0]]
    height, width, channels = y.shape
    if any(y.halo):
        job.fill(y)
    for first in range(0, channels, c.columns):
        for part in blocks(job.images, height, width, c.accumulator_depth):
            image, images, row, rows = part
            addend = job.memory.maps[names[1]] if len(names) > 1 else None
            strides = (addend.channels, addend.row, addend.image) if addend else (0, 0, 0)
            job.add(job.diagonal_tiles())
            pixels = _pixels(x, part, first, job)
            if empty:
                pixels.tail = (3, 0)
            job.add(pixels, replace(
                form, base=y.at(image, row) + first, valid=min(c.columns, channels - first),
                operand=addend.at(image, row) + first if addend else None,
                loops=[Loop(width, channels, 1, strides[0]), Loop(rows, y.row, width, strides[1]),
                       Loop(images, y.image, rows * width, strides[2])]), reads=(names[0],))


def update(job: Job, plan: Plan, rule: Rule) -> None:
    """Descent of every trained parameter; momentum and decay are what its gradient becomes.

    Raises
    ------
    OverflowError
        If a factor does not fit 16 bits at these exponents.
    """
    def descend(name: str) -> None:
        _blend(job, -rule.rate / rule.batch, gradient_of(name), name, name, size_of(name))

    def keep(name: str) -> None:
        gradient, size = gradient_of(name), size_of(name)
        decays = rule.decay and plan.network.parameters[name].ndim > 1
        if rule.momentum:
            _blend(job, rule.momentum, gradient, None, gradient, size, report=not decays)
        else:
            job.fill_span(job.memory.arrays[gradient], size)
        if decays:
            _blend(job, rule.decay * rule.batch, name, gradient, gradient, size, turn=1)

    def size_of(name: str) -> int:
        return padded(plan.network.parameters[name].size, job.config)

    # one parameter ahead: what decays has long been written then
    for name in plan.trained[:1]:
        descend(name)
    for name, after in zip(plan.trained, [*plan.trained[1:], None], strict=True):
        if after is not None:
            descend(after)
        keep(name)


def _groups(vectors: int, depth: int) -> tuple[int, int, int]:
    """Cut vectors into equal groups: how many, of how many vectors, and vectors that are left."""
    most = min(depth, _BLENDED)
    fewest = -(-vectors // most)
    for count in range(fewest, 2 * fewest):
        if vectors % count == 0:
            return count, vectors // count, 0
    return vectors // most, most, vectors % most


def _blend(job: Job, factor: float, operand: str, addend: str | None, result: str, size: int, *,
           turn: int = 0, report: bool = True) -> None:
    """Write ``factor * operand + addend`` of arrays, rounded stochastically.

    Without ``report`` the next nest that reports tells the range of both.
    """
    c, arrays, exponents = job.config, job.memory.arrays, job.exponents
    scale = coefficient(factor, operand=exponents[operand], result=exponents[result],
                        addend=None if addend is None else exponents[addend])
    groups, most, left = _groups(size // c.columns, c.accumulator_depth)
    done = 0
    for vectors, count in ((most, groups), (left, 1)):
        if not vectors * count:
            continue
        step = vectors * c.columns
        job.add(job.diagonal_tiles(scale.factor, count))
        job.add(Stream(base=arrays[operand] + done, pass_level=1, group_level=1, tail=job.whole,
                       loops=[Loop(vectors, c.columns, 1), Loop(count, step)]),
                ResultNest(base=arrays[result] + done,
                           operand=None if addend is None else arrays[addend] + done,
                           left=scale.left, right=scale.right, stochastic=True, turn=turn,
                           group_level=1, valid=c.columns,
                           loops=[Loop(vectors, c.columns, 1, c.columns),
                                  Loop(count, step, 0, step)]), reads=(operand,))
        done += step * count
    job.complete(result, report=report)
