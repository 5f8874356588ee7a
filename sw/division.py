"""A network that memory cannot hold, cut into programs that it can.

What crosses from one program to the next goes over the link. A convolution whose weights alone are
too many, such as a fully connected layer of thousands of inputs, is made by several programs, some
channels each: every sum is whole, and rescaled once, so results are the same. The next program puts
the channels side by side.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Concat, Conv, Graph, Op, Requant
from systolith.sw.numerics import quantize_multiplier
from systolith.sw.program import Program
from systolith.sw.segments import segment

__all__ = ["divided"]


def divided(graph: Graph, config: Config, batch: int = 1) -> list[Program]:
    """Return programs that, one after the other, do what a graph without host operations does.

    Their layers have the names of the graph's operations.

    Raises
    ------
    CapacityError
        If one operation alone, or some of its channels, do not fit.
    """
    origin: dict[str, str] = {}
    tensors, ops = dict(graph.tensors), []
    for op in graph.ops:
        for part in _parts(graph, op, config, batch):
            origin[part.name] = op.name
            tensors.setdefault(part.output, graph.tensors[op.output])
            if isinstance(part, Conv):
                shape = (*tensors[part.output].shape[:2], len(part.weights))
                tensors[part.output] = replace(tensors[part.output], name=part.output, shape=shape)
            ops.append(part)
    whole = replace(graph, tensors=tensors, ops=ops)
    return [_named(program, origin) for program in _programs(whole, config, batch)]


def _programs(graph: Graph, config: Config, batch: int) -> Iterator[Program]:
    """Yield programs of as many operations in a row as fit."""
    rest, number = graph.ops, 0
    while rest:
        count = _count(rest, config)
        while True:
            made = segment(graph, rest[:count], number)
            try:
                programs = [compile_graph(each, config, batch) for each in made]
                break
            except CapacityError:
                if count == 1:
                    raise
                count -= 1 + count // 8
        yield from programs
        rest, number = rest[count:], number + 1


def _count(ops: list[Op], config: Config) -> int:
    """Return how many of the first operations have weights that fit, at least one."""
    total = 0
    for count, op in enumerate(ops):
        total += op.weights.size if isinstance(op, Conv) else 0
        if total > config.memory_elements:
            return max(1, count)
    return len(ops)


def _parts(graph: Graph, op: Op, config: Config, batch: int) -> list[Op]:
    """Return an operation, or convolutions of some of its channels each and what joins them.

    Raises
    ------
    CapacityError
        If even those of one group of the array's columns do not fit.
    """
    if not isinstance(op, Conv) or op.groups > 1 or op.weights.size <= config.memory_elements:
        return [op]
    outputs, unit = len(op.weights), config.columns
    count = -(-op.weights.size // config.memory_elements)
    while True:
        width = -(-outputs // count // unit) * unit
        parts = [_some(op, number, slice(begin, min(begin + width, outputs)))
                 for number, begin in enumerate(range(0, outputs, width))]
        first = parts[0]
        shape = (*graph.tensors[op.output].shape[:2], len(first.weights))
        alone = replace(graph, ops=[first], outputs=[], tensors=graph.tensors | {
            first.output: replace(graph.tensors[op.output], name=first.output, shape=shape)})
        alone.outputs = [replace(graph.outputs[0], tensor=first.output)]
        try:
            compile_graph(segment(alone, [first], 0)[0], config, batch)
            break
        except CapacityError:
            if width == unit:
                raise
            count += 1
    one = Requant(*(np.full(len(parts), n, np.int32) for n in quantize_multiplier(1.0)))
    return [*parts, Concat(name=op.name, kind=op.kind, inputs=tuple(part.output for part in parts),
                           output=op.output, axis=2, requant=one)]


def _some(op: Conv, number: int, channels: slice) -> Conv:
    """Return a convolution that makes some of the channels."""
    label = f"(part {number})"
    return replace(op, name=f"{op.name} {label}", output=f"{op.output} {label}",
                   weights=op.weights[channels], bias=op.bias[channels],
                   requant=op.requant.elements(channels))


def _named(program: Program, origin: dict[str, str]) -> Program:
    """Return a program whose layers have the names of what they are parts of.

    What a batch adds, such as its images put side by side, is nobody's.
    """
    return replace(program, layers=[replace(
        layer, name=origin.get(layer.name, layer.name),
        parts=tuple(dict.fromkeys(origin.get(part, part) for part in layer.parts)))
        for layer in program.layers])
