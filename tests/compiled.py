"""Compiled random networks: configurations small enough to hit every limit, and memory images.

Memory is filled with noise first, so a result that depends on an element nobody wrote shows.
"""

from dataclasses import dataclass, replace

import numpy as np

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sw.compiler import compile_graph
from systolith.sw.ir import Graph, Port
from systolith.sw.program import Program
from tests.networks import random_graph, random_inputs

__all__ = ["CONFIGS", "Case", "random_case", "with_all_outputs"]

_SMALL = {"frame_bytes": 64, "accumulator_depth": 64}
#: Every shape of array and every option, by what is special about each.
CONFIGS = {
    "tall": Config(rows=4, columns=2, post_lanes=2, banks=3, bank_words=1024, **_SMALL),
    "steps": Config(rows=4, columns=2, post_lanes=1, banks=2, bank_words=1024, bank_ports="single",
                    alignment=2, prefetch_descriptors=False, multiplier_stages=3, fifo_depth=8,
                    **_SMALL),
    "odd": Config(rows=5, columns=3, post_lanes=3, banks=3, bank_words=512, **_SMALL),
    "wide": Config(rows=2, columns=4, post_lanes=2, banks=3, bank_words=1024, **_SMALL),
    "default": Config(),
    "window": Config(window=True),
    "narrow window": Config(rows=9, columns=3, post_lanes=3, window=True, window_width=16,
                            **_SMALL),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A program, memories ready for a job, and what the golden model says of it."""

    graph: Graph
    program: Program
    #: int8[n, h, w, c] of every input, and of every tensor.
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    def fill(self, memory: np.ndarray, images: slice, parity: int = 0) -> None:
        """Put weights and the inputs of some images into memories [n, elements]."""
        for address, elements in self.program.segments:
            memory[:, address:address + len(elements)] = elements
        for buffer in self.program.inputs:
            address = buffer.address + parity * buffer.delta
            for row, x in zip(memory, self.inputs[buffer.port.tensor][images], strict=True):
                row[address:address + buffer.elements] = buffer.pack(x.transpose(2, 0, 1))

    def check(self, memory: np.ndarray, images: slice, parity: int = 0) -> None:
        """Compare the outputs in memories [n, elements] with the golden model's."""
        for buffer in self.program.outputs:
            address = buffer.address + parity * buffer.delta
            expected = self.expected[buffer.port.tensor][images]
            got = [buffer.unpack(row[address:address + buffer.elements]) for row in memory]
            np.testing.assert_array_equal(
                np.stack(got), expected.transpose(0, 3, 1, 2),
                f"tensor {buffer.port.tensor} of {[op.kind for op in self.graph.ops]}")


def random_case(rng: np.random.Generator, config: Config, *, images: int = 3,
                all_outputs: bool = False, **options: object) -> Case:
    """Compile a random network; ``options`` are those of ``random_graph``.

    With ``all_outputs`` every tensor is an output: nothing is fused and nothing overwritten.

    Raises
    ------
    CapacityError
        If it does not fit.
    """
    graph = random_graph(rng, **options)
    if all_outputs:
        graph = with_all_outputs(graph)
    inputs = random_inputs(graph, rng, images)
    program = compile_graph(graph, config)
    return Case(graph, program, inputs, golden.run(graph, inputs))


def with_all_outputs(graph: Graph) -> Graph:
    """Return the network with every result an output."""
    ports = []
    for op in graph.ops:
        h, w, c = graph.tensors[op.output].shape
        ports.append(Port(name=op.output, tensor=op.output, shape=(c, h, w), dtype="int8",
                          permutation=(1, 2, 0)))
    return replace(graph, outputs=ports)
