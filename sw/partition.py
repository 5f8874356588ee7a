"""Which operations share a program, and what the host does between the programs.

A gated map, ``y = x * table(conv(pool(x)))`` with ``x = conv(...)`` and a convolution behind it, is
a segment (conv, pool, conv), two host operations (table, product) and a segment (conv).
"""

from dataclasses import replace

from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Graph, HostOp, Op, Port
from systolith.sw.passes.verify import verify
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program

__all__ = ["compile_network", "partition"]


def compile_network(graph: Graph, config: Config, batch: int = 1) -> Program | Pipeline:
    """Compile a network that may hold host operations; without any it is one program.

    A job takes ``batch`` images: one by one where there is something to gain from many pixels
    already, all together in fully connected layers.

    Raises
    ------
    CapacityError
        If segments do not fit, or sums could overflow; the message names the layers.
    """
    verify(graph)
    if not any(isinstance(op, HostOp) for op in graph.ops):
        return compile_graph(graph, config, batch)
    stages: list[Program | HostOp] = []
    errors: list[CapacityError] = []
    for stage in partition(graph):
        try:
            stages.append(stage if isinstance(stage, HostOp)
                          else compile_graph(stage, config, batch))
        except CapacityError as error:
            errors.append(error)
    if errors:
        raise CapacityError.joined(errors)
    seen = {port.tensor for port in graph.inputs}
    for stage in stages:
        seen |= {end.tensor.name for end in stage.outputs} if isinstance(stage, Program) \
            else {stage.output}
    return Pipeline(
        name=graph.name, config=config, stages=stages, input_ports=graph.inputs,
        output_ports=graph.outputs,
        tensors={name: tensor for name, tensor in graph.tensors.items() if name in seen})


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
            stages += _segment(graph, ops, len(stages))
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


def _segment(graph: Graph, ops: list[Op], number: int) -> list[Graph]:
    """Return the operations as a graph of their own; none if nobody needs their results."""
    made = {op.output for op in ops}
    inside = {op.name for op in ops}
    needed = {port.tensor for port in graph.outputs}
    for op in graph.ops:
        if op.name not in inside:
            needed.update(op.inputs)
    read = dict.fromkeys(name for op in ops for name in op.inputs if name not in made)
    given = dict.fromkeys(op.output for op in ops if op.output in needed)
    if not given:
        return []
    return [replace(
        graph, name=f"{graph.name} (segment {number})", ops=ops,
        tensors={name: graph.tensors[name] for name in (*read, *made)},
        inputs=[_port(graph, name) for name in read],
        outputs=[_port(graph, name) for name in given])]


def _port(graph: Graph, tensor: str) -> Port:
    return Port(name=tensor, tensor=tensor, shape=graph.tensors[tensor].shape, dtype="int8",
                permutation=(0, 1, 2))
