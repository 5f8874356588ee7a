"""Jobs of a plan: forward, backward, update."""

from collections.abc import Callable, Iterable, Mapping

from systolith.hw.config import Config
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Rectify
from systolith.sw.train.lowering import convolution, elementwise
from systolith.sw.train.lowering.job import Job, Program
from systolith.sw.train.lowering.memory import MemoryPlan
from systolith.sw.train.steps import (
    AverageBackward,
    BiasGradient,
    ConvData,
    ConvWeights,
    Forward,
    GradientSum,
    Item,
    MaxBackward,
)

__all__ = ["lower_items", "lower_update"]

_FORWARD: dict[type, Callable[[Job, Forward], None]] = {
    Conv: convolution.convolution, MaxPool: elementwise.maximum, Add: elementwise.addition,
    AveragePool: elementwise.average, Rectify: elementwise.rectification}
_BACKWARD: dict[type, Callable] = {
    ConvData: convolution.conv_data, ConvWeights: convolution.conv_weights,
    BiasGradient: convolution.bias_gradient, MaxBackward: elementwise.maximum_backward,
    AverageBackward: elementwise.average_backward, GradientSum: elementwise.gradient_sum}


def lower_items(items: Iterable[Item], config: Config, memory: MemoryPlan,
                exponents: Mapping[str, int], images: int) -> Program:
    """Return the job that runs items (any but the loss) on some images.

    Raises
    ------
    UnsupportedError
        If an item does not run on the accelerator.
    CapacityError
        If the program, a row of a map or the factors are too many.
    """
    job = Job(config, memory, exponents, images)
    for item in items:
        if isinstance(item, Forward):
            _FORWARD[type(item.node)](job, item)
        else:
            _BACKWARD[type(item)](job, item)
    return job.program()


def lower_update(plan: Plan, config: Config, memory: MemoryPlan, exponents: Mapping[str, int],
                 rule: Rule) -> Program:
    """Return the job that changes parameters and momentum by the gradients.

    Raises
    ------
    OverflowError
        If a factor does not fit 16 bits at these exponents.
    """
    job = Job(config, memory, exponents, 1)
    elementwise.update(job, plan, rule)
    return job.program()
