"""Fusion: which operations one trip through array and post-processor does together."""

from dataclasses import dataclass
from enum import StrEnum

from systolith.sw.ir import Add, Conv, Graph, Op, Pool

__all__ = ["Step", "Unit", "fuse"]


class Unit(StrEnum):
    """What a step occupies."""

    #: Weights in the array, every row and column of use to all channels.
    ARRAY = "array"
    #: Depthwise: the array's rows see a window of pixels, its columns channels.
    WINDOW = "window"
    #: Depthwise: weights on the diagonal of the array.
    DIAGONAL = "diagonal"
    #: Ones on the diagonal take pixels to the post-processor, which does the work.
    COPY = "copy"
    #: The host, between two programs.
    HOST = "host"


@dataclass(slots=True)
class Step:
    """An operation on the array, and what POST does to its result on the way to memory."""

    #: The operation whose sums the array makes.
    core: Op
    pool: Pool | None = None
    add: Add | None = None

    @property
    def ops(self) -> list[Op]:
        """The operations done, in order."""
        return [op for op in (self.core, self.pool, self.add) if op is not None]

    @property
    def x(self) -> str:
        """Tensor that streams through the array (the first of several)."""
        return self.core.x

    @property
    def output(self) -> str:
        """Tensor written to memory."""
        return self.ops[-1].output

    @property
    def residual(self) -> str | None:
        """Tensor that POST adds, if any."""
        add = self.core if isinstance(self.core, Add) else self.add
        if add is None:
            return None
        return add.inputs[1] if add is self.core or add.inputs[0] == self.core.output \
            else add.inputs[0]

    @property
    def inputs(self) -> list[str]:
        """Tensors read from memory."""
        streamed = [self.x] if isinstance(self.core, Add) else [*self.core.inputs]
        return streamed + ([self.residual] if self.residual else [])


def fuse(graph: Graph) -> list[Step]:
    """Group a graph's operations into steps, in execution order.

    ``Conv -> MaxPool`` (whole windows) and ``Conv -> Add`` become one step when nobody else needs
    the value between them and, for Add, the other operand is there before. Of two convolutions
    that are added, the larger one comes last: an addition takes longer than a convolution's
    results, and is hidden behind its sums.
    """
    outputs = {port.tensor for port in graph.outputs}
    ready = {port.tensor for port in graph.inputs}
    steps: list[Step] = []
    done: set[str] = set()
    for op in _ordered(graph):
        if op.name in done and op.output in ready:
            continue
        step = Step(op)
        if isinstance(op, Conv) and op.output not in outputs:
            consumers = graph.consumers(op.output)
            follower = consumers[0] if len(consumers) == 1 else None
            if isinstance(follower, Pool) and follower.mode == "max" and not any(follower.pads):
                step.pool = follower
            elif isinstance(follower, Add) and _other(follower, op.output) in ready:
                step.add = follower
        steps.append(step)
        for part in step.ops:
            ready.add(part.output)
            done.add(part.name)
    return steps


def _ordered(graph: Graph) -> list[Op]:
    """Return the operations with the smaller of two added convolutions moved before the larger."""
    ops = list(graph.ops)
    outputs = {port.tensor for port in graph.outputs}
    for add in graph.ops:
        if not isinstance(add, Add):
            continue
        pair = [op for op in ops if op.output in add.inputs and isinstance(op, Conv)
                and graph.consumers(op.output) == [add] and op.output not in outputs]
        if len(pair) < 2 or graph.macs(pair[0]) <= graph.macs(pair[1]):
            continue
        larger, smaller = (ops.index(op) for op in pair)
        if all(op.output != pair[1].x for op in ops[larger:smaller]):
            ops.insert(larger, ops.pop(smaller))
    return ops


def _other(add: Add, mine: str) -> str | None:
    """Return an addition's other operand, None if it adds a value to itself."""
    others = [name for name in add.inputs if name != mine]
    return others[0] if others else None
