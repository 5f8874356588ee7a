"""Cycles of networks on the compiled RTL, and what they were when last committed.

    python -m systolith.examples.benchmark

writes the baseline anew, from predictions, which are exact.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systolith.boards.targets import TARGETS, find_config
from systolith.examples import training_step
from systolith.examples.evaluate import random_inputs
from systolith.examples.synthetic import conv3x3
from systolith.examples.zoo import ZOO
from systolith.hw.config import Config
from systolith.sim.golden import run_model
from systolith.sw import device
from systolith.sw.errors import CapacityError, DataError, SystolithError
from systolith.sw.importer.load import load_model
from systolith.sw.ir import Graph
from systolith.sw.partition import compile_network

__all__ = ["MOST_GROWTH", "WORKS", "Row", "Work", "WrongAnswer", "all_targets", "baseline",
           "bench_config", "check_answers", "find_work", "grown", "measure", "predictions"]

#: By how much cycles may grow over the baseline.
MOST_GROWTH = 0.01
#: Networks that go by another name in tables of other projects.
_NAMES = {"mobilenetv1_025": "mobilenetv1-0.25-96"}
_FOLDER = Path(__file__).parent
_BASELINE = _FOLDER / "baseline.json"
#: Configurations without a board, to compare with others that have as many multipliers.
_CONFIGS = ("multipliers72",)


class WrongAnswer(SystolithError):
    """The RTL's answer is not the golden model's."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured: a network of the zoo, or a layer that others have been measured with."""

    name: str
    load: Callable[[], Graph]


#: Everything that is measured, by its name in tables.
WORKS: dict[str, Work] = {work.name: work for work in (
    *(Work(_NAMES.get(entry.name, entry.name), lambda path=entry.path: load_model(path))
      for entry in ZOO.values()),
    Work("conv3x3-32-16x16", lambda: conv3x3(32, 16)),
    Work("conv3x3-64-8x8", lambda: conv3x3(64, 8)),
)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network on one target."""

    network: str
    target: str
    macs: int
    #: Of one image on the RTL: from the job's start, its input on chip, to its last output word.
    #: Of a network in segments the sum over its jobs; of a batch its job's, shared, rounded up.
    cycles: int
    predicted_cycles: int
    #: Share of all multiply-accumulates the array could have done in these cycles.
    utilization: float
    #: Images that a job takes.
    batch: int = 1


def find_work(name: str) -> Work:
    """Return what is called ``name``, in tables or in the zoo.

    Raises
    ------
    DataError
        If there is nothing of that name; the message lists what there is.
    """
    public = _NAMES.get(name, name)
    if public not in WORKS:
        raise DataError(f"no network {name!r} in the benchmark; there are: {', '.join(WORKS)}")
    return WORKS[public]


def all_targets(*, training: bool = False) -> dict[str, Config]:
    """Return every board, and what is compared with others, by name; or those that train."""
    configs = {name: bench_config(name) for name in (*TARGETS, *_CONFIGS)}
    return {name: config for name, config in configs.items() if config.training is training}


def bench_config(name: str) -> Config:
    """Return the configuration of one of :func:`all_targets`, or the one in a ``.json`` file.

    Raises
    ------
    BoardError
        If there is no such target or file, or the file holds no possible configuration.
    """
    return find_config(str(_FOLDER / f"{name}.json") if name in _CONFIGS else name)


def measure(work: Work, config: Config, batch: int = 1) -> Row:
    """Run one job of images of random pixels on the compiled RTL.

    Raises
    ------
    CapacityError
        If the network does not fit.
    WrongAnswer
        If the answer differs from the golden model's.
    DeviceError
        If the simulation fails.
    """
    graph = work.load()
    program = compile_network(graph, config, batch)
    images = random_inputs(graph, batch)
    with device.open("sim:", config) as opened:
        opened.load(program)
        run = opened.run(images)
    check_answers(work, config, graph, images, run.outputs)
    macs = sum(graph.macs(op) for op in graph.ops)
    cycles, = set(run.cycles)
    return Row(network=work.name, target=config.name, macs=macs, batch=batch,
               cycles=-(-cycles // batch), predicted_cycles=-(-program.predicted_cycles // batch),
               utilization=batch * macs / (config.multipliers * cycles))


def check_answers(work: Work, config: Config, graph: Graph, images: np.ndarray,
                  answers: tuple[np.ndarray, ...]) -> None:
    """Raise ``WrongAnswer`` unless these are the golden model's answers to the images."""
    for port, found, golden in zip(graph.outputs, answers, run_model(graph, images), strict=True):
        if not np.array_equal(found, golden):
            raise WrongAnswer(f"{work.name} on {config.name}: output {port.name} of the RTL "
                              "differs from the golden model's; please report it")


def predictions(config: Config) -> Iterator[tuple[str, int]]:
    """Yield name and predicted cycles of everything that fits a target, or of a step it trains."""
    if config.training:
        yield training_step.NETWORK, training_step.predict(config)
        return
    for work in WORKS.values():
        try:
            yield work.name, compile_network(work.load(), config).predicted_cycles
        except CapacityError:
            continue


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


def main() -> None:
    """Write the baseline."""
    targets = all_targets() | all_targets(training=True)
    cycles = {name: dict(predictions(config)) for name, config in targets.items()}
    _BASELINE.write_text(json.dumps(cycles, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
