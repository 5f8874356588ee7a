"""ONNX's own node tests, run on the device ``machine:``.

A case passes if its result is within one step of its quantisation of what ONNX's reference answers
to the same operands rounded to 8 bits; integer cases pass if they are equal. A case that the
importer or compiler refuses is refused, with the reason; anything else is a failure.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from systolith.hw.config import Config
from systolith.sim.node_models import NodeModel, node_model
from systolith.sim.onnx_backend import SystolithBackend
from systolith.sw.errors import SystolithError, UnsupportedError
from systolith.sw.importer.reader import HANDLERS

__all__ = ["Outcome", "check_case", "node_cases", "run_cases"]

#: Steps of the output's quantisation that a result may be off, and what float32 adds.
TOLERANCE, _SLACK = 1.0, 1e-3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test case."""

    case: str
    operator: str
    #: ``passed``, ``failed`` or ``refused``.
    verdict: str
    #: Why it failed or was refused.
    reason: str = ""
    #: Largest distance from the reference in steps of the output; None for integers.
    steps: float | None = None


def node_cases() -> list[TestCase]:
    """Return ONNX's node tests of one node each, the bodies of functions left out."""
    return [case for case in collect_testcases(None) if len(case.model.graph.node) == 1]


def run_cases(cases: Iterable[TestCase], config: Config | None = None, device: str = "machine:",
              progress: Callable[[], object] = lambda: None) -> list[Outcome]:
    """Return the outcome of every case whose operator the importer knows."""
    outcomes = []
    for case in cases:
        if case.model.graph.node[0].op_type in HANDLERS:
            outcomes.append(check_case(case, config, device))
            progress()
    return outcomes


def check_case(case: TestCase, config: Config | None = None,
               device: str = "machine:") -> Outcome:
    """Run one case with all its data."""
    operator = case.model.graph.node[0].op_type
    worst = None
    try:
        for operands, answers in case.data_sets:
            made = node_model(case.model, operands, answers)
            network = SystolithBackend.prepare(made.model, device, config=config)
            steps = _compare(made, network.run(made.inputs))
            worst = steps if worst is None else max(worst, steps)
    except SystolithError as error:
        return Outcome(case.name, operator, "refused", _reason(error))
    except Exception as error:  # what the table is there to show
        return Outcome(case.name, operator, "failed", _reason(error))
    return Outcome(case.name, operator, "passed", steps=worst)


def _compare(made: NodeModel, found: tuple[np.ndarray, ...]) -> float | None:
    """Return the largest distance in steps, None if there are only integers.

    Raises
    ------
    AssertionError
        If a result is wrong.
    """
    worst = None
    for ours, theirs, step in zip(found, made.expected, made.steps, strict=True):
        assert ours.shape == theirs.shape, f"the shape is {ours.shape}, not {theirs.shape}"
        assert ours.dtype == theirs.dtype, f"the type is {ours.dtype}, not {theirs.dtype}"
        if not step:
            wrong = np.count_nonzero(ours != theirs)
            assert not wrong, f"{wrong} of {ours.size} elements differ"
            continue
        off = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)) / step
        assert off <= TOLERANCE + _SLACK, f"it is {off:.2f} steps off"
        worst = max(off, worst or 0.0)
    return worst


def _reason(error: Exception) -> str:
    """Return one line."""
    if isinstance(error, UnsupportedError):
        return "; ".join(error.problems)
    text = " ".join(str(error).split())
    return text if isinstance(error, SystolithError | AssertionError) else (
        f"{type(error).__name__}: {text}")
