"""Some operations of a network as a graph of their own."""

from dataclasses import replace

from systolith.sw.ir import Graph, Op, Port

__all__ = ["segment"]


def segment(graph: Graph, ops: list[Op], number: int) -> list[Graph]:
    """Return the operations as a graph of their own; none if nobody needs their results.

    Its inputs and outputs are int8 maps as they are.
    """
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
