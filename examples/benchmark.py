"""Cycles of the zoo's networks on the compiled RTL, and what they were when last committed."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systolith.examples.evaluate import random_inputs
from systolith.examples.zoo import Entry, find_entry
from systolith.hw.config import Config
from systolith.sim.golden import run_model
from systolith.sw import device
from systolith.sw.errors import SystolithError
from systolith.sw.importer.load import load_model
from systolith.sw.partition import compile_network

__all__ = ["MOST_GROWTH", "Row", "WrongAnswer", "baseline", "entry_called", "grown", "measure",
           "public_name"]

#: By how much cycles may grow over the baseline.
MOST_GROWTH = 0.01
#: Networks that go by another name in tables of other projects.
_NAMES = {"mobilenetv1_025": "mobilenetv1-0.25-96"}
_BASELINE = Path(__file__).parent / "baseline.json"


class WrongAnswer(SystolithError):
    """The RTL's answer is not the golden model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network on one target."""

    network: str
    target: str
    macs: int
    #: Of one image on the RTL: from the job's start, its input on chip, to its last output word.
    #: Of a network in segments the sum over its jobs.
    cycles: int
    predicted_cycles: int
    #: Share of all multiply-accumulates the array could have done in these cycles.
    utilization: float


def public_name(entry: Entry) -> str:
    """Return the name of a network in tables."""
    return _NAMES.get(entry.name, entry.name)


def entry_called(name: str) -> Entry:
    """Return the network of that name, the register's or the tables'.

    Raises
    ------
    DataError
        If there is none.
    """
    return find_entry(next((own for own, public in _NAMES.items() if public == name), name))


def measure(entry: Entry, target: str, config: Config) -> Row:
    """Run one image of random pixels on the compiled RTL.

    Raises
    ------
    CapacityError
        If the network does not fit.
    WrongAnswer
        If the answer differs from the golden model's.
    DeviceError
        If the simulation fails.
    """
    graph = load_model(entry.path)
    program = compile_network(graph, config)
    image = random_inputs(graph, 1)
    with device.open("sim:", config) as opened:
        opened.load(program)
        run = opened.run(image)
    for port, found, golden in zip(graph.outputs, run.outputs, run_model(graph, image),
                                   strict=True):
        if not np.array_equal(found, golden):
            raise WrongAnswer(f"{entry.name} on {target}: output {port.name} of the RTL differs "
                              "from the golden model's; please report it")
    macs = sum(graph.macs(op) for op in graph.ops)
    cycles, = run.cycles
    return Row(network=public_name(entry), target=target, macs=macs, cycles=cycles,
               predicted_cycles=program.predicted_cycles,
               utilization=macs / (config.multipliers * cycles))


def baseline() -> dict[str, dict[str, int]]:
    """Return the cycles that were committed: target -> network -> cycles."""
    return json.loads(_BASELINE.read_text(encoding="utf-8"))


def grown(target: str, network: str, cycles: int) -> str | None:
    """Say by how much a network takes longer than its baseline allows; None if it does not."""
    before = baseline().get(target, {}).get(network)
    if before is None or cycles <= before * (1 + MOST_GROWTH):
        return None
    return (f"{network} on {target} takes {cycles:,} cycles, {cycles / before - 1:.1%} more than "
            f"the {before:,} of the baseline")
