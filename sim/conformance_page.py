"""The page of the conformance run: ``systolith conformance > docs/operators.md``."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import onnx

from systolith.sim.conformance import TOLERANCE, Outcome
from systolith.sw.importer.reader import HANDLERS

__all__ = ["conformance_data", "conformance_page"]

_INTRODUCTION = """\
# ONNX operators: ONNX's own tests

This page is printed by `systolith conformance > docs/operators.md`. How the operators are mapped
is in [onnx.md](onnx.md).

The test cases of single nodes that come with ONNX {onnx}, on the instruction-level model
(`machine:`): **{passed} passed, {failed} failed, {refused} refused**. {cases} cases of {others}
operators that the importer does not know were not tried.

How a case is run:

- The first operand is the map, its first axis the batch; Add, Sub, Mul and Concat take every
  operand of that batch as a map. All other operands are constants.
- Float operands are rounded to 8 bits: maps to the 256 levels of their range, weights to -127 to
  127. The result gets the 256 levels of its range, or its operand's levels if it lies on them.
- Before the node stands a Clip without bounds, so that something runs on the array.
- It passes if no element is more than {tolerance_steps:g} step of the result's levels from what
  ONNX's reference implementation answers to the same rounded operands: half a step is lost where
  the result is rounded, the rest is for operators that round on the way. Integers must be equal.
- It is refused if importer or compiler say why the model cannot be mapped. Any other error, and
  any wrong number, is a failure.

| operator | passed | failed | refused | largest distance in steps |
| --- | --: | --: | --: | --: |
"""
_VERDICTS = ("passed", "failed", "refused")


def conformance_data(outcomes: Sequence[Outcome], others: Iterable[str] = ()) -> dict[str, Any]:
    """Return a run's figures as data.

    Parameters
    ----------
    outcomes : sequence of Outcome
        What became of each case.
    others : iterable of str
        For each case that was not tried its operator.
    """
    left_out = Counter(others)
    operators = []
    for name in sorted(HANDLERS):
        own = [outcome for outcome in outcomes if outcome.operator == name]
        steps = [outcome.steps for outcome in own if outcome.steps is not None]
        operators.append({"operator": name, **_counts(own),
                          "largest_steps": round(max(steps), 2) if steps else None})
    return {
        "onnx": onnx.__version__, "tolerance_steps": TOLERANCE, **_counts(outcomes),
        "not_claimed": {"operators": len(left_out), "cases": left_out.total()},
        "operators": operators,
        "cases": [{"case": outcome.case, "operator": outcome.operator,
                   "verdict": outcome.verdict, "reason": outcome.reason, "steps": outcome.steps}
                  for outcome in outcomes],
    }


def conformance_page(outcomes: Sequence[Outcome], others: Iterable[str] = ()) -> str:
    """Return the page, Markdown; arguments as for :func:`conformance_data`."""
    data = conformance_data(outcomes, others)
    left_out = data["not_claimed"]
    lines = _INTRODUCTION.format(
        **(data | {"cases": left_out["cases"]}), others=left_out["operators"]).splitlines()
    for row in data["operators"]:
        counts = [row[verdict] for verdict in _VERDICTS]
        steps = "" if row["largest_steps"] is None else f"{row['largest_steps']:.2f}"
        name = row["operator"] if any(counts) else f"{row['operator']} (ONNX has no case)"
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {steps} |")
    for verdict in ("failed", "refused"):
        lines += _section(verdict, [o for o in outcomes if o.verdict == verdict])
    return "\n".join(lines) + "\n"


def _section(verdict: str, outcomes: list[Outcome]) -> list[str]:
    """Return the cases of a verdict by operator and reason."""
    if not outcomes:
        return []
    lines = ["", f"## What {'fails' if verdict == 'failed' else 'is refused, and why'}", "",
             "| operator | reason | cases |", "| --- | --- | --- |"]
    reasons: dict[tuple[str, str], list[str]] = {}
    for outcome in sorted(outcomes, key=lambda o: o.operator):
        text = re.sub(r"^(node '.*?' \(.*?\)|the model): ", "", outcome.reason).replace("|", "\\|")
        reasons.setdefault((outcome.operator, text), []).append(
            f"`{outcome.case.removeprefix('test_')}`")
    return lines + [f"| {operator} | {reason} | {', '.join(cases)} |"
                    for (operator, reason), cases in reasons.items()]


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    counts = Counter(outcome.verdict for outcome in outcomes)
    return {verdict: counts[verdict] for verdict in _VERDICTS}
