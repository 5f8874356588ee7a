"""Items that move elements past a diagonal tile: additions, ReLUs, updates."""

from dataclasses import replace

from systolith.sw.nests import Loop
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Add, Rectify
from systolith.sw.train.lowering.job import Job, blocks
from systolith.sw.train.lowering.memory import Map, padded
from systolith.sw.train.lowering.nests import ResultNest, Stream
from systolith.sw.train.numerics import coefficient
from systolith.sw.train.steps import Forward, GradientSum, Item, gradient_of

__all__ = ["addition", "gradient_sum", "mask_delta", "pixels", "rectification", "update", "walk"]


#: Most sums of a group of an update: POST waits for the first group of every parameter.
_BLENDED = 384


def mask_delta(job: Job, item: Item) -> int | None:
    """Return how far an item's mask lies from its result, or None without one."""
    maps = job.memory.maps
    return None if item.mask is None else maps[item.mask].base - maps[item.result].base


def pixels(source: Map, part: tuple[int, int, int, int], first: int, job: Job,
           columns: range | None = None) -> Stream:
    """Return some rows of a map, or some columns of them; the channels from one on."""
    image, images, row, rows = part
    columns = range(source.shape[1]) if columns is None else columns
    width = len(columns)
    return Stream(base=source.at(image, row, columns.start) + first, pass_level=3, group_level=3,
                  tail=job.whole,
                  loops=[Loop(width, source.channels, 1), Loop(rows, source.row, width),
                         Loop(images, source.image, rows * width)])


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
            streamed = pixels(x, part, first, job)
            if empty:
                streamed.tail = (3, 0)
            job.add(streamed, replace(
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
