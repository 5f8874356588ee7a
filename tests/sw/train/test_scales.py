"""Exponents: chosen for the ranges of a batch, then following the ranges of every step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.sw.errors import TrainingError
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.numerics import Range
from systolith.sw.train.scales import Change, Scales, exponent_for, quantize
from systolith.sw.train.steps import common, gradient_of
from tests.training_networks import small

RESULT = "conv2.y"


@pytest.fixture
def scales():
    plan = plan_training(small())
    scales = Scales(plan, 1.0)
    scales.exponents |= {item.result: item.sums(scales.exponents) + 12 for item in plan.items}
    scales.settle()
    return scales


@given(st.floats(1e-30, 1e30), st.integers(0, 3))
def test_the_exponent_is_the_least_that_fits(largest, room):
    exponent = exponent_for(largest, room)
    assert abs(int(quantize(np.array([largest]), exponent)[0])) < 1 << 15 - room
    assert round(largest * 2.0 ** (room - exponent + 1)) > (1 << 15) - 1


def test_quantize_rounds_and_saturates():
    assert quantize([0.3, -0.3, 1.0, -1.0, 5.0], -15).tolist() == [9830, -9830, 32767, -32768,
                                                                  32767]


def test_saturation_raises_at_once(scales):
    before = dict(scales.exponents)
    changes = scales.observe({RESULT: Range(15, 1)})
    assert changes == [Change(RESULT, 1)]
    assert scales.exponents == before | {RESULT: before[RESULT] + 1}


def test_unused_bits_lower_after_64_steps_in_a_row(scales):
    quiet = {RESULT: Range(13, 0)}
    for _ in range(63):
        assert scales.observe(quiet) == []
    assert scales.observe(quiet) == [Change(RESULT, -1)]
    for bits in [13] * 40 + [14] + [13] * 23:        # once in 64 steps it needed the bit
        assert scales.observe({RESULT: Range(bits, 0)}) == []
    for _ in range(200):                             # nothing but zeros tells nothing
        assert scales.observe({RESULT: Range(0, 0)}) == []


def test_stored_tensors_leave_room_before_they_saturate(scales):
    assert scales.observe({"conv2.weights": Range(14, 0)}) == []
    assert Change("conv2.weights", 1) in scales.observe({"conv2.weights": Range(15, 0)})
    assert scales.observe({RESULT: Range(15, 0)}) == []


def test_no_result_has_steps_below_those_of_its_sums(scales):
    sums = {item.result: item.sums for item in scales.plan.items}
    scales.exponents[RESULT] = sums[RESULT](scales.exponents)
    for _ in range(64):
        changes = scales.observe({RESULT: Range(5, 0)})
    assert changes == []
    changes = scales.observe({"conv2.weights": Range(15, 0)})
    assert {Change("conv2.weights", 1), Change(RESULT, 1)} <= set(changes)


def test_results_of_maxima_share_exponents_and_the_loss_keeps_its_own(scales):
    assert scales.exponents["maxpool1.y"] == scales.exponents["conv0.y"]
    scales.observe({"conv0.y": Range(15, 3), "maxpool1.y": Range(15, 0)})
    assert scales.exponents["maxpool1.y"] == scales.exponents["conv0.y"]
    scales.observe({gradient_of(RESULT): Range(15, 9)})
    assert scales.exponents[gradient_of(RESULT)] == -15


def test_endless_growth_is_divergence(scales):
    with pytest.raises(TrainingError, match=r"small: training diverged: conv2.y has outgrown"):
        for _ in range(64):
            scales.observe({RESULT: Range(15, 1)})


def test_a_restored_state_goes_on(scales):
    other = Scales(scales.plan, 1.0)
    for _ in range(50):
        scales.observe({RESULT: Range(13, 0)})
    other.restore(scales.state())
    for _ in range(20):
        assert other.observe({RESULT: Range(13, 0)}) == scales.observe({RESULT: Range(13, 0)})
    assert other.exponents == scales.exponents


def test_sums_are_aligned_within_31_bits():
    assert common([-3, -7]) == -7
    assert common([20, -40]) == -11


def test_a_prefix_is_all_up_to_an_operation():
    network = small()
    assert network.prefix("maxpool1") == {"conv0", "maxpool1"}
    with pytest.raises(ValueError, match="no operation 'fc': it has conv0, maxpool1, conv2"):
        network.prefix("fc")
