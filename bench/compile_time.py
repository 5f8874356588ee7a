"""How long compiling takes and how much memory, of the zoo and of ever longer networks.

    python bench/compile_time.py [--target ulx3s-85f] [--json]

Chains of 3 x 3 convolutions, 4 to 4 channels on 8 x 8 pixels, double in length: time and memory
should double with them. Seconds are those of the processor, so other programs hardly matter. The
zoo's include reading the model file.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from systolith.boards.targets import find_config
from systolith.examples.synthetic import Builder
from systolith.examples.zoo import ZOO
from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from systolith.sw.importer.load import load_model
from systolith.sw.ir import Graph
from systolith.sw.partition import compile_network

#: Layers of the chains.
LENGTHS = (10, 20, 40, 80, 160)
_CHANNELS, _SIZE = 4, 8
#: Program words that hold the longest chain.
_WORDS = 1 << 14

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """What compiling a network took."""

    name: str
    seconds: float
    #: At the fullest moment, without what was there before.
    mebibytes: float


def chain(layers: int) -> Graph:
    """Return a network of so many equal convolutions."""
    b = Builder(f"{layers} layers", (_SIZE, _SIZE, _CHANNELS))
    for _ in range(layers):
        b.conv(_CHANNELS)
    return b.finish()


def cost(name: str, work: Callable[[], object]) -> Cost:
    """Do something twice: once for its time, once for its memory, which is slow to trace."""
    begin = time.process_time()
    work()
    seconds = time.process_time() - begin
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(name, seconds, peak / (1 << 20))


def chains(config: Config, lengths: tuple[int, ...] = LENGTHS) -> list[Cost]:
    """Return the costs of the chains."""
    config = replace(config, program_words=max(_WORDS, config.program_words))
    compile_graph(chain(2), config)              # what is loaded and built the first time only
    return [cost(graph.name, lambda graph=graph: compile_graph(graph, config))
            for graph in map(chain, lengths)]


def zoo(config: Config) -> list[Cost]:
    """Return the costs of the networks that fit."""
    costs = []
    for entry in ZOO.values():
        try:
            costs.append(cost(entry.name, lambda path=entry.path: compile_network(
                load_model(path), config)))
        except CapacityError:
            tracemalloc.stop()
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", default="ulx3s-85f")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    config = find_config(options.target)
    costs = chains(config) + zoo(config)
    if options.json:
        print(json.dumps([asdict(one) for one in costs], indent=1))
        return
    for one in costs:
        print(f"{one.name:20}{one.seconds:8.2f} s{one.mebibytes:8.1f} MiB")


if __name__ == "__main__":
    main()
