"""The loss: the gradient by the logits, made between forward and backward of one job."""

import math

from systolith.hw.isa import LOSS_CLASSES
from systolith.sw.errors import UnsupportedError
from systolith.sw.nests import Loop
from systolith.sw.train.lowering.elementwise import mask_delta, walk
from systolith.sw.train.lowering.job import Job, blocks
from systolith.sw.train.lowering.nests import ResultNest, Stream
from systolith.sw.train.numerics import RESULT_ELEMENTS, coefficient, exponential_shift
from systolith.sw.train.steps import CrossEntropy, SquaredError

__all__ = ["cross_entropy", "squared_error"]


def cross_entropy(job: Job, item: CrossEntropy) -> None:
    """Send one sample after the other through the loss unit; a mask is applied afterwards.

    Raises
    ------
    UnsupportedError
        If there are more classes than the loss unit has room for.
    """
    maps = job.memory.maps
    logits, gradient, samples = maps[item.logits], maps[item.result], maps[item.targets]
    classes = math.prod(logits.shape)
    if classes > LOSS_CLASSES:
        raise UnsupportedError(
            item.logits, [f"{classes:,} classes: the loss unit has room for {LOSS_CLASSES:,}"])
    job.add(ResultNest(
        loss=True, fill=True, pool_level=1, counted=False, valid=RESULT_ELEMENTS,
        base=samples.base, operand=logits.base, mask=RESULT_ELEMENTS,
        record=gradient.base - samples.base,
        right=exponential_shift(job.exponents[item.logits]),
        loops=[Loop(classes, 0, 0, 1), Loop(job.images, samples.image, 0, logits.image)]))
    job.complete(item.result, report=False)
    if item.mask is not None:
        walk(job, item, item.result, ResultNest(
            base=0, loops=[], valid=1, counted=False, mask=mask_delta(job, item)))
        job.complete(item.result, report=False)


def squared_error(job: Job, item: SquaredError) -> None:
    """Stream results past a tile of ``2 / outputs``, targets past one of the opposite sign."""
    c, maps = job.config, job.memory.maps
    logits, gradient, targets = maps[item.logits], maps[item.result], maps[item.targets]
    height, width, channels = logits.shape
    scale = coefficient(2 / math.prod(logits.shape), operand=job.exponents[item.logits],
                        result=job.exponents[item.result])
    for first in range(0, channels, c.columns):
        for image, images, row, rows in blocks(job.images, height, width, c.accumulator_depth):
            job.add(job.diagonal_tiles(scale.factor), job.diagonal_tiles(-scale.factor))
            job.add(Stream(
                base=logits.at(image, row) + first, pass_level=3, group_level=4, tail=job.whole,
                loops=[Loop(width, channels, 1), Loop(rows, logits.row, width),
                       Loop(images, logits.image, rows * width),
                       Loop(2, targets.base - logits.base)]),
                ResultNest(
                    base=gradient.at(image, row) + first, right=scale.right,
                    mask=mask_delta(job, item), valid=min(c.columns, channels - first),
                    loops=[Loop(width, channels, 1), Loop(rows, gradient.row, width),
                           Loop(images, gradient.image, rows * width)]), reads=(item.logits,))
    job.complete(item.result)
