"""Which operations share a program, and what the host does between the programs.

A gated map, ``y = x * table(conv(pool(x)))`` with ``x = conv(...)`` and a convolution behind it, is
a segment (conv, pool, conv), two host operations (table, product) and a segment (conv).
"""

from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.division import divided
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Graph, HostOp
from systolith.sw.passes.verify import verify
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program
from systolith.sw.segments import segment

__all__ = ["compile_network", "partition"]


def compile_network(graph: Graph, config: Config, batch: int = 1,
                    divide: bool = False) -> Program | Pipeline:
    """Compile a network that may hold host operations; without any it is one program.

    A job takes ``batch`` images: one by one where there is something to gain from many pixels
    already, all together in fully connected layers. With ``divide``, what memory cannot hold
    becomes several programs (:mod:`systolith.sw.division`).

    Raises
    ------
    CapacityError
        If segments do not fit, or sums could overflow; the message names the layers.
    """
    verify(graph)
    hosted = any(isinstance(op, HostOp) for op in graph.ops)
    stages: list[Program | HostOp] = []
    errors: list[CapacityError] = []
    for stage in partition(graph) if hosted else [graph]:
        try:
            stages += [stage] if isinstance(stage, HostOp) else _programs(
                stage, config, batch, divide)
        except CapacityError as error:
            errors.append(error)
    if errors:
        raise CapacityError.joined(errors)
    if not hosted and len(stages) == 1 and isinstance(stages[0], Program):
        return stages[0]
    tensors = {port.tensor: graph.tensors[port.tensor] for port in graph.inputs}
    for stage in stages:
        tensors |= {end.tensor.name: end.tensor for end in stage.outputs} if isinstance(
            stage, Program) else {stage.output: graph.tensors[stage.output]}
    return Pipeline(name=graph.name, config=config, stages=stages, input_ports=graph.inputs,
                    output_ports=graph.outputs, tensors=tensors)


def _programs(graph: Graph, config: Config, batch: int, divide: bool) -> list[Program]:
    """Return a graph's program, or those that it is divided into."""
    try:
        return [compile_graph(graph, config, batch)]
    except CapacityError as error:
        if not divide:
            raise
        try:
            return divided(graph, config, batch)
        except CapacityError:
            raise error from None


def partition(graph: Graph) -> list[Graph | HostOp]:
    """Return segments for the device and host operations, in the order they run.

    A segment's inputs and outputs are int8 maps as they are. Operations run as early as their
    operands allow, which gives the fewest segments. A segment that nobody reads is left out.
    """
    phases = _phases(graph)
    stages: list[Graph | HostOp] = []
    for phase in range(max(phases.values(), default=-1) + 1):
        ops = [op for op in graph.ops if phases[op.output] == phase]
        if ops and isinstance(ops[0], HostOp):
            stages += ops
        elif ops:
            stages += segment(graph, ops, len(stages))
    return stages


def _phases(graph: Graph) -> dict[str, int]:
    """Return when each operation runs, by its result: the device in even phases, the host in odd.

    Operations of one phase are in the order of the graph, so each finds its operands.
    """
    phases: dict[str, int] = {}
    for op in graph.ops:
        side = isinstance(op, HostOp)
        before = max((phases[name] for name in op.inputs if name in phases), default=0)
        phases[op.output] = before if before % 2 == side else before + 1
    return phases
