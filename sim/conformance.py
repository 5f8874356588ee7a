"""ONNX's own node tests, run on the device ``machine:``.

A case passes if its result is within one step of its quantisation of what ONNX's reference answers
to the same operands rounded to 8 bits; integer cases pass if they are equal. A case that the
importer or compiler refuses is refused, with the reason; anything else is a failure.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from systolith.hw.config import Config
from systolith.sim.node_models import NodeModel, node_model
from systolith.sim.onnx_backend import SystolithBackend
from systolith.sw.errors import CapacityError, ModelError, SystolithError, UnsupportedError
from systolith.sw.importer.reader import HANDLERS

__all__ = ["TOLERANCE", "Outcome", "check_case", "claimed", "node_cases", "operator_of"]

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
    with warnings.catch_warnings(action="ignore"):      # some compute infinities on purpose
        cases = collect_testcases(None)
    return [case for case in cases if len(case.model.graph.node) == 1]


def operator_of(case: TestCase) -> str:
    """Return the operator that a case tests."""
    return case.model.graph.node[0].op_type


def claimed(cases: Iterable[TestCase]) -> list[TestCase]:
    """Return the cases whose operator the importer knows."""
    return [case for case in cases if operator_of(case) in HANDLERS]


def check_case(case: TestCase, config: Config | None = None,
               device: str = "machine:") -> Outcome:
    """Run one case with all its data."""
    operator = operator_of(case)
    worst = None
    try:
        for operands, answers in case.data_sets:
            made = node_model(case.model, operands, answers)
            network = SystolithBackend.prepare(made.model, device, config=config)
            steps = _compare(made, network.run(made.inputs))
            worst = steps if worst is None else max(worst, steps)
    except (ModelError, CapacityError) as error:
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
