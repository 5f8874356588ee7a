"""Bank conflicts: the share of reads that meet, counted one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.hw.config import Config
from systolith.sw.bank_conflicts import BankConflicts
from systolith.sw.ir import Add
from systolith.sw.steps import Step
from tests.networks import requant

CONFIG = Config(rows=4, columns=2, post_lanes=2, banks=4, bank_words=64, frame_bytes=64)
BANK = 64 * 4
STEP = Step(Add(name="sum", kind="Add", inputs=("x", "r"), output="y",
                requant=requant([0.5, 0.5, 1])))
SIZES = {"x": 100, "r": 100, "y": 100}

spans = st.tuples(st.integers(0, 4 * BANK - 1), st.integers(1, 2 * BANK)).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], 4 * BANK)))


def shared(a, b):
    """Return the share of pairs of elements that lie in one bank."""
    first, second = (np.bincount(np.arange(*span) // BANK, minlength=4) for span in (a, b))
    return first @ second / (first.sum() * second.sum())


@given(a=spans, b=spans)
def test_residual_operand(a, b):
    """POST reads the operand once for every result of all columns."""
    conflicts = BankConflicts([STEP], SIZES, [], CONFIG)
    assert conflicts.cost("x", a, {"r": b}) == round(50 * shared(a, b))
    assert conflicts.cost("r", b, {"x": a}) == round(50 * shared(a, b))


@given(a=spans, b=spans)
def test_weights(a, b):
    """Every word is read once."""
    conflicts = BankConflicts([STEP], SIZES, [(0, b)], CONFIG)
    for name in ("x", "r"):
        assert conflicts.cost(name, a, {}) == round((b[1] - b[0]) // 4 * shared(a, b))


@pytest.mark.parametrize("name", ["x", "y", "r"])
def test_nothing_to_meet(name):
    conflicts = BankConflicts([STEP], SIZES, [], CONFIG)
    assert conflicts.cost(name, (0, 100), {"y": (0, 100)}) == 0
