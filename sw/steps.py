"""Fusion: which operations one trip through array and post-processor does together."""

from dataclasses import dataclass, field
from enum import StrEnum

from systolith.sw.ir import Add, Concat, Conv, Graph, Op, Pool
from systolith.sw.numerics import quantize_multiplier

__all__ = ["Step", "Unit", "fuse"]

#: Results can be written at channels that are multiples of it, in whatever memory.
_ALIGNMENT = 2
#: Multiplier, left and right shift of a rescaling by one.
_ONE = quantize_multiplier(1.0)


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
    #: Concatenation that the result is a part of, and the row, column and channel it begins at.
    concat: Concat | None = None
    place: tuple[int, int, int] = (0, 0, 0)
    #: Of a concatenation: parts that other steps have put in their places.
    placed: set[int] = field(default_factory=set)

    @property
    def ops(self) -> list[Op]:
        """The operations done, in order."""
        return [op for op in (self.core, self.pool, self.add, self.concat) if op is not None]

    @property
    def streamed(self) -> list[str]:
        """Tensors that stream through the array."""
        names = self.core.inputs[:1] if isinstance(self.core, Add) else self.core.inputs
        return [name for i, name in enumerate(names) if i not in self.placed]

    @property
    def x(self) -> str:
        """Tensor that streams through the array (the first of several)."""
        return self.streamed[0]

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
        return self.streamed + ([self.residual] if self.residual else [])


def fuse(graph: Graph) -> list[Step]:
    """Group a graph's operations into steps, in execution order.

    ``Conv -> MaxPool`` (whole windows) and ``Conv -> Add`` become one step when nobody else needs
    the value between them and, for Add, the other operand is there before. Of two convolutions
    that are added, the larger one comes last: an addition takes longer than a convolution's
    results, and is hidden behind its sums. A part of a concatenation that nobody else reads, and
    that it takes as it is, is written to its place at once.
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
    return _placed(graph, steps)


def _placed(graph: Graph, steps: list[Step]) -> list[Step]:
    """Give steps their places in concatenations; those that have nothing left to do go."""
    makers = {step.output: step for step in steps}
    outputs = {port.tensor for port in graph.outputs}
    for step in steps:
        concat = step.core
        if not isinstance(concat, Concat):
            continue
        for i, (name, place) in enumerate(zip(concat.inputs, graph.places(concat), strict=True)):
            maker = makers.get(name)
            if (maker and not isinstance(maker.core, Concat) and name not in outputs
                    and graph.consumers(name) == [concat] and concat.inputs.count(name) == 1
                    and place[2] % _ALIGNMENT == 0 and _as_it_is(graph, concat, i)):
                maker.concat, maker.place = concat, place
                step.placed.add(i)
    return [step for step in steps if step.streamed]


def _as_it_is(graph: Graph, concat: Concat, part: int) -> bool:
    """Return whether a concatenation leaves the numbers of a part alone."""
    one = concat.requant.elements(part)
    return ((concat.low, concat.high) == (-128, 127)
            and (one.multiplier, one.left, one.right) == _ONE
            and graph.tensors[concat.inputs[part]].zero_point
            == graph.tensors[concat.output].zero_point)


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
