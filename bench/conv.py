"""Measure 3 x 3 convolutions on the compiled RTL of a target: how busy the multipliers are.

    python bench/conv.py

Each layer is one job of its own through the driver and the link. ``job`` counts every cycle from
the job's start to its end (the device's CYCLES register); ``array`` those from the first vector to
the last result written. The result is compared with the golden model, the cycles with the
prediction; either differing is an error.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass

import numpy as np

from systolith.boards.targets import find_config
from systolith.examples.synthetic import conv3x3
from systolith.hw.config import Config
from systolith.hw.isa import Engine
from systolith.sim import golden
from systolith.sw import device
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import SystolithError
from systolith.sw.ir import Graph
from systolith.sw.timing import NestTiming, measure

#: Channels (in and out) and size of the layers measured.
LAYERS = ((32, 16), (64, 8))
#: Share of the array's peak that a whole job is to reach.
BAR = 0.96


@dataclass(frozen=True, slots=True)
class Measurement:
    """One layer, in clock cycles."""

    name: str
    #: Cycles if every multiplier were busy in each.
    ideal: int
    measured: int
    predicted: int
    #: From the start of the first STREAM nest to the end of the last POST nest.
    busy: int
    #: The RTL's result is the golden model's, element by element.
    equal: bool

    @property
    def utilisation(self) -> float:
        """Share of the peak over the whole job."""
        return self.ideal / self.measured

    @property
    def busy_utilisation(self) -> float:
        """Share of the peak while the layer runs."""
        return self.ideal / self.busy

    @property
    def passed(self) -> bool:
        """Right, as predicted, and fast enough."""
        return self.equal and self.measured == self.predicted and self.utilisation >= BAR


def busy_span(nests: list[NestTiming]) -> int:
    """Return the cycles from the first vector's nest to the last result."""
    begin = min(nest.started for nest in nests if nest.engine is Engine.STREAM)
    return max(nest.finished for nest in nests if nest.engine is Engine.POST) - begin


def measure_layer(graph: Graph, config: Config, url: str) -> Measurement:
    """Compile a graph, run one image on a device, and compare with the models.

    Raises
    ------
    SystolithError
        If the graph does not fit or the device fails.
    """
    program = compile_graph(graph, config)
    x = np.random.default_rng(3).integers(-128, 128, (1, *graph.inputs[0].shape)).astype(np.int8)
    with device.open(url, config) as opened:
        opened.load(program)
        run = opened.run(x)
    return Measurement(
        name=graph.name, measured=run.cycles[0], predicted=program.predicted_cycles,
        ideal=-(-sum(graph.macs(op) for op in graph.ops) // config.multipliers),
        busy=busy_span(measure(config, program.words).nests),
        equal=bool(np.array_equal(run.outputs[0], golden.run_model(graph, x)[0])))


def main() -> int:
    """Print the measurements; 1 if one misses the bar or differs from a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="ulx3s-85f", help="target or configuration file")
    parser.add_argument("--device", default="sim:", help="device URL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    try:
        config = find_config(arguments.target)
        results = [measure_layer(conv3x3(channels, size), config, arguments.device)
                   for channels, size in LAYERS]
    except SystolithError as error:
        print(f"conv: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps([asdict(r) | {"utilisation": r.utilisation, "passed": r.passed}
                          for r in results], indent=1))
    else:
        print(table(results))
    return 0 if all(result.passed for result in results) else 1


def table(results: list[Measurement]) -> str:
    """Return the measurements as text."""
    heads = "".join(f"{head:>{width}}" for head, width in (
        ("ideal", 8), ("measured", 10), ("predicted", 11), ("job", 8), ("array", 8)))
    lines = [f"{'layer':26}{heads}  golden   (bar: job >= {BAR:.0%})"]
    lines += [f"{r.name:26}{r.ideal:8,}{r.measured:10,}{r.predicted:11,}{r.utilisation:8.1%}"
              f"{r.busy_utilisation:8.1%}  {'equal' if r.equal else 'DIFFERS'}"
              f"{'' if r.passed else '   MISSED'}" for r in results]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
