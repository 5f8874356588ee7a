"""Measure networks of the zoo: cycles, answers on the instruction-level model, and the RTL.

    python examples/evaluate.py
    python examples/evaluate.py faces gestures --data FOLDER --rtl 20
    python examples/evaluate.py --target icebreaker --rtl 2

Without ``--data`` the answers are those to random inputs; with it, the whole test set is run and
the metric told. ``--rtl`` runs as many samples on the compiled RTL too, one at a time, so that
nothing is transferred beside a job and its cycles are the predicted ones. Answers that differ from
the golden model, cycles that differ from the prediction, or a bar missed make the exit code 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from systolith.boards.targets import TARGETS
from systolith.examples.reference import reference_outputs
from systolith.examples.zoo import ZOO, Entry, find_entry
from systolith.sim.batch import run_batch
from systolith.sim.golden import run_model
from systolith.sw import device
from systolith.sw.errors import CapacityError, SystolithError
from systolith.sw.importer.load import load_model
from systolith.sw.ir import Graph
from systolith.sw.partition import compile_network
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program

__all__ = ["Answers", "Cost", "Report", "RtlRun", "evaluate", "random_inputs"]

_INFERRING = {name: target for name, target in TARGETS.items() if not target.config.training}
#: Targets whose cycles are told: of boards that carry the same accelerator the first.
COSTED = sorted({target.config.hash: name
                 for name, target in reversed(_INFERRING.items())}.values(),
                key=list(TARGETS).index)
#: Samples where there is no data set.
_RANDOM = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network takes on a target."""

    cycles: int
    #: Share of the array's multiply-accumulates used.
    utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The instruction-level model's answers to many samples, and those they are compared with."""

    samples: int
    #: Metric of the float model and of the int8 model in their own runtime, and of the accelerator.
    #: None without data, or where there is no float model.
    float_reference: float | None
    reference: float | None
    accelerator: float | None
    #: Numbers answered, those one step beside the reference's, and those further away.
    outputs: int
    one_step: int
    further: int
    #: Model and golden model agree in every bit.
    equal: bool


@dataclass(frozen=True, slots=True)
class RtlRun:
    """What the compiled RTL did."""

    samples: int
    #: The answers are the golden model's in every bit.
    equal: bool
    #: Cycles of every job are those predicted.
    predicted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything measured of one network."""

    name: str
    file_bytes: int
    macs: int
    #: Reading and compiling the model for the target measured.
    compile_seconds: float
    #: By target; None where it does not fit.
    costs: dict[str, Cost | None]
    #: On the target measured; None where it does not fit, or the RTL was not asked for.
    answers: Answers | None
    rtl: RtlRun | None

    def failures(self) -> list[str]:
        """Return what is not as it should be, in words; not to fit is no failure."""
        if self.answers is None:
            return []
        metric, value = ZOO[self.name].metric, self.answers.accelerator
        found = []
        if not self.answers.equal:
            found.append("the instruction-level model differs from the golden model")
        if value is not None and not metric.met(value):
            found.append(f"{metric.name} {value:.2%} misses {metric.bar:.2%}")
        if self.rtl and not self.rtl.equal:
            found.append("the RTL differs from the golden model")
        if self.rtl and not self.rtl.predicted:
            found.append("the RTL takes other cycles than predicted")
        return found


def random_inputs(graph: Graph, count: int, seed: int = 0) -> np.ndarray:
    """Return inputs [count, ...] of a model with one input, of all the values it can tell apart."""
    port = graph.inputs[0]
    tensor = graph.tensors[port.tensor]
    levels = np.random.default_rng(seed).integers(-128, 128, (count, *port.shape))
    if np.dtype(port.dtype).kind == "f":
        return ((levels - tensor.zero_point) * tensor.scale).astype(port.dtype)
    return (levels - port.offset).astype(port.dtype)


def evaluate(entry: Entry, folder: Path | None = None, rtl: int = 0,
             target: str = "ulx3s-85f") -> Report:
    """Measure one network.

    Parameters
    ----------
    entry : Entry
        The network.
    folder : Path, optional
        Where the data sets are.
    rtl : int
        Samples to run on the compiled RTL.
    target : str
        Name of the target whose answers are measured; cycles are told for all.

    Raises
    ------
    SystolithError
        If the data cannot be read, or the device fails.
    """
    started = time.perf_counter()
    graph = load_model(entry.path)
    program = _compile(graph, target)
    seconds = time.perf_counter() - started
    programs = {name: program if name == target else _compile(graph, name) for name in COSTED}
    answers = ran = None
    if program:
        dataset = entry.dataset(folder) if folder else None
        x = dataset.test_x if dataset else random_inputs(graph, max(_RANDOM, rtl))
        golden = run_model(graph, x)[0]
        answers = _answers(entry, graph, program, x, golden, dataset and dataset.test_y)
        ran = _run_rtl(program, x[:rtl], golden[:rtl]) if rtl else None
    macs = sum(graph.macs(op) for op in graph.ops)
    return Report(
        name=entry.name, file_bytes=entry.path.stat().st_size, compile_seconds=seconds, macs=macs,
        costs={name: p and _cost(p, macs) for name, p in programs.items()},
        answers=answers, rtl=ran)


def _compile(graph: Graph, target: str) -> Program | Pipeline | None:
    try:
        return compile_network(graph, TARGETS[target].config)
    except CapacityError:
        return None


def _cost(program: Program | Pipeline, macs: int) -> Cost:
    cycles = program.predicted_cycles
    return Cost(cycles, macs / program.config.multipliers / cycles)


def _answers(entry: Entry, graph: Graph, program: Program | Pipeline, x: np.ndarray,
             golden: np.ndarray, y: np.ndarray | None) -> Answers:
    found, reference = run_batch(program, x)[0], reference_outputs(entry.path, x)
    step = graph.tensors[graph.outputs[0].tensor].scale if found.dtype.kind == "f" else 1
    steps = np.abs(np.rint((found.astype(np.float64) - reference) / step))

    def worth(outputs: np.ndarray) -> float | None:
        return None if y is None else entry.metric.measure(outputs, y)

    in_float = None
    if y is not None and entry.float_path.exists():
        in_float = worth(reference_outputs(entry.float_path, x))
    return Answers(
        samples=len(x), float_reference=in_float, reference=worth(reference),
        accelerator=worth(found), outputs=found.size, one_step=int((steps == 1).sum()),
        further=int((steps > 1).sum()), equal=bool(np.array_equal(found, golden)))


def _run_rtl(program: Program | Pipeline, x: np.ndarray, golden: np.ndarray) -> RtlRun:
    with device.open("sim:", program.config) as opened:
        opened.load(program)
        runs = [opened.run(sample[None]) for sample in x]
    found = np.concatenate([run.outputs[0] for run in runs])
    return RtlRun(len(x), bool(np.array_equal(found, golden)),
                  all(run.cycles == (program.predicted_cycles,) for run in runs))


def table(reports: Sequence[Report]) -> str:
    """Return the reports as text: what the networks cost, then what they answer."""
    targets = "".join(f"{name:>15}{'of peak':>9}" for name in COSTED)
    lines = [f"{'network':18}{'kB':>6}{'MMAC':>8}{'compile':>9}{targets}"]
    for r in reports:
        costs = "".join(
            f"{cost.cycles:15,}{cost.utilization:9.1%}" if cost else f"{'does not fit':>24}"
            for cost in r.costs.values())
        lines.append(f"{r.name:18}{r.file_bytes / 1e3:6.0f}{r.macs / 1e6:8.2f}"
                     f"{r.compile_seconds:7.1f} s{costs}")
    heads = "".join(f"{head:>{width}}" for head, width in (
        ("samples", 8), ("metric", 10), ("float", 9), ("int8", 9), ("machine", 9),
        ("outputs", 9), ("1 LSB", 7), ("more", 6)))
    lines += ["", f"{'network':18}{heads}  golden   RTL"]
    for r in reports:
        a, metric = r.answers, ZOO[r.name].metric
        if a is None:
            lines.append(f"{r.name:18}  does not fit")
            continue
        values = "".join(f"{'-' if value is None else f'{value:.2%}':>9}" for value in (
            a.float_reference, a.reference, a.accelerator))
        name = "-" if metric is None else metric.name
        lines.append(f"{r.name:18}{a.samples:8,}{name:>10}{values}{a.outputs:9,}"
                     f"{a.one_step:7,}{a.further:6,}  {'equal' if a.equal else 'DIFFERS'}    "
                     f"{_verdict(r.rtl)}")
    return "\n".join(lines)


def _verdict(rtl: RtlRun | None) -> str:
    if rtl is None:
        return "not run"
    return (f"{rtl.samples} samples {'equal' if rtl.equal else 'DIFFER'}, cycles "
            f"{'as predicted' if rtl.predicted else 'DIFFER'}")


def main() -> int:
    """Print the table; 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; all if left out")
    parser.add_argument("--data", type=Path, help="folder of the data sets, see docs/zoo.md")
    parser.add_argument("--target", default="ulx3s-85f", choices=_INFERRING,
                        help="whose answers are measured")
    parser.add_argument("--rtl", type=int, default=0, help="samples to run on the RTL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    try:
        entries = [find_entry(name) for name in arguments.names] or list(ZOO.values())
        reports = [evaluate(entry, arguments.data, arguments.rtl, arguments.target)
                   for entry in entries]
    except SystolithError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps([asdict(r) for r in reports], indent=1) if arguments.json else table(reports))
    failures = [f"{r.name}: {text}" for r in reports for text in r.failures()]
    for failure in failures:
        print(f"evaluate: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
