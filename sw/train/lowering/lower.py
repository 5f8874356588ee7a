"""Jobs of a plan: forward, backward, update."""

from collections.abc import Callable, Mapping, Sequence

from systolith.hw.config import Config
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network, Rectify
from systolith.sw.train.lowering import convolution, elementwise, loss, pooling
from systolith.sw.train.lowering.chunks import maximum_weights
from systolith.sw.train.lowering.fusion import fused_steps
from systolith.sw.train.lowering.job import Job, Program
from systolith.sw.train.lowering.memory import MemoryPlan
from systolith.sw.train.steps import (
    AverageBackward,
    BiasGradient,
    ConvData,
    ConvWeights,
    CrossEntropy,
    Forward,
    GradientSum,
    Item,
    MaxBackward,
    SquaredError,
)

__all__ = ["lower_items", "lower_update"]

_FORWARD: dict[type, Callable[..., None]] = {
    Conv: convolution.convolution, MaxPool: pooling.maximum, Add: elementwise.addition,
    AveragePool: pooling.average, Rectify: elementwise.rectification}
_OTHERS: dict[type, Callable] = {
    CrossEntropy: loss.cross_entropy, SquaredError: loss.squared_error,
    ConvData: convolution.conv_data, ConvWeights: convolution.conv_weights,
    BiasGradient: convolution.bias_gradient, MaxBackward: pooling.maximum_backward,
    AverageBackward: pooling.average_backward, GradientSum: elementwise.gradient_sum}


def lower_items(items: Sequence[Item], network: Network, config: Config, memory: MemoryPlan,
                exponents: Mapping[str, int], images: int) -> Program:
    """Return the job that runs items of a network on some images.

    Raises
    ------
    UnsupportedError
        If an item does not run on the accelerator.
    CapacityError
        If the program, a row of a map or the factors are too many.
    """
    job = Job(config, memory, network.shapes, exponents, images)
    for step in fused_steps(items, network, config):
        first = step[0]
        if isinstance(first, Forward):
            _FORWARD[type(first.node)](job, *step)
        elif len(step) > 1:
            maximum_weights(job, *step)
        else:
            _OTHERS[type(first)](job, first)
    return job.program()


def lower_update(plan: Plan, config: Config, memory: MemoryPlan, exponents: Mapping[str, int],
                 rule: Rule) -> Program:
    """Return the job that changes parameters by their gradients.

    Raises
    ------
    OverflowError
        If a factor does not fit 16 bits at these exponents.
    """
    job = Job(config, memory, plan.network.shapes, exponents, 1)
    elementwise.update(job, plan, rule)
    return job.program()
