"""Training's integer arithmetic against real numbers, and its random numbers against chance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.sw.train import numerics
from systolith.sw.train.numerics import HIGH, LOW, Range

PLACES = np.arange(1 << 16, dtype=np.uint32)


@given(st.lists(st.integers(-(1 << 46), 1 << 46), min_size=1), st.integers(0, 31))
def test_shift_rounds_to_nearest_ties_up(sums, right):
    rounded = numerics.shift(np.array(sums, np.int64), right)
    assert rounded.tolist() == [(2 * s + (1 << right)) // (2 << right) for s in sums]


@given(st.integers(-(1 << 30), 1 << 30), st.integers(1, 24))
def test_stochastic_rounding_lands_on_a_neighbour_and_is_right_on_average(value, right):
    random = np.arange(1 << 16, dtype=np.uint16)              # every random number once
    rounded = numerics.shift(np.full(1 << 16, value, np.int64), right, random)
    exact = value / (1 << right)
    assert rounded.min() >= math.floor(exact) and rounded.max() <= math.floor(exact) + 1
    assert abs(rounded.mean() - exact) <= 2.0 ** -15


def test_a_whole_number_of_steps_is_never_rounded_away():
    sums = np.arange(-50, 50, dtype=np.int64) << 9
    for random in (0, 0xFFFF):
        rounded = numerics.shift(sums, 9, np.full(100, random, np.uint16))
        assert (rounded == np.arange(-50, 50)).all()


def test_finish_saturates_and_reports():
    sums = np.array([LOW - 1, LOW, -3, 0, 5, HIGH, HIGH + 1], np.int64)
    elements, found = numerics.finish(sums, 0)
    assert elements.dtype == np.int16
    assert elements.tolist() == [LOW, LOW, -3, 0, 5, HIGH, HIGH]
    assert found == Range(15, 2)
    elements, found = numerics.finish(sums, 0, rectify=True)
    assert elements.tolist() == [0, 0, 0, 0, 5, HIGH, HIGH]
    assert found == Range(15, 1)
    elements, found = numerics.finish(sums, 0, mask=np.array([1, 0, 1, 1, 1, 0, -1], np.int16))
    assert elements.tolist() == [LOW, 0, -3, 0, 5, 0, 0]
    assert found == Range(15, 1)


@given(st.lists(st.integers(LOW, HIGH), min_size=1))
def test_bits_are_those_of_the_largest_magnitude(values):
    _, found = numerics.finish(np.array(values, np.int64), 0)
    assert found.bits == max(max(v, ~v).bit_length() for v in values)


@given(st.floats(1e-6, 4) | st.floats(-4, -1e-6), st.integers(-25, -12), st.integers(-20, -10),
       st.integers(LOW, HIGH), st.integers(LOW, HIGH))
def test_a_coefficient_scales_and_adds(real, operand, result, a, b):
    try:
        scaling = numerics.coefficient(real, operand=operand, result=result, addend=result)
    except OverflowError:
        assert abs(real) * 2.0 ** operand >= 2.0 ** result * (1 << 14)
        return
    assert LOW <= scaling.factor <= HIGH and 0 <= scaling.left == scaling.right <= 31
    value = int(numerics.shift(np.int64(scaling.factor * a + (b << scaling.left)), scaling.right))
    exact = real * a * 2.0 ** (operand - result) + b
    # half a step of the result, and the coefficient's own rounding
    assert abs(value - exact) <= 0.5 + abs(real * a) * 2.0 ** (operand - result - 15) + 2.0 ** -15


def test_a_coefficient_that_does_not_fit_is_an_error():
    with pytest.raises(OverflowError, match="more than 16 bits"):
        numerics.coefficient(3.0, operand=0, result=-15)
    with pytest.raises(OverflowError, match="31 bits apart"):
        numerics.coefficient(1e-9, operand=-20, result=15, addend=-20)


def test_seeds_do_not_repeat_soon():
    seed, seen = 1, set()
    for _ in range(10_000):
        seed = numerics.next_seed(seed)
        assert 0 < seed < 1 << 32
        seen.add(seed)
    assert len(seen) == 10_000


def test_random_numbers_pass_for_uniform_and_independent():
    """Of consecutive places and consecutive seeds: mean, every bit, neighbours, next seed."""
    seed = 12345
    for _ in range(8):
        random = numerics.draw(PLACES, seed).astype(np.float64)
        later = numerics.draw(PLACES, numerics.next_seed(seed)).astype(np.float64)
        again = numerics.draw(PLACES, seed, turn=1).astype(np.float64)
        deviation = (1 << 16) / math.sqrt(12)
        bound = 5 / math.sqrt(len(PLACES))                     # five standard errors
        assert abs(random.mean() - 32767.5) / deviation < bound
        for lag in (1, 2, 8, 64, 120):
            assert abs(np.corrcoef(random[lag:], random[:-lag])[0, 1]) < bound
        assert abs(np.corrcoef(random, later)[0, 1]) < bound
        assert abs(np.corrcoef(random, again)[0, 1]) < bound
        bits = random.astype(int)[:, None] >> np.arange(16) & 1
        assert np.abs(bits.mean(axis=0) - 0.5).max() < bound
        flips = (random.astype(int) ^ later.astype(int))[:, None] >> np.arange(16) & 1
        assert np.abs(flips.mean(axis=0) - 0.5).max() < bound
        seed = numerics.next_seed(seed)


def test_a_place_has_256_turns():
    with pytest.raises(ValueError, match="256 times at most"):
        numerics.draw(PLACES, 1, 256)


@given(st.integers(-20, 0), st.data())
def test_softmax_is_exact_to_a_few_steps(exponent, data):
    values = st.integers(LOW, HIGH)
    logits = np.array(data.draw(st.lists(
        st.lists(values, min_size=5, max_size=5), min_size=1, max_size=4)), np.int16)
    probabilities, sums = numerics.softmax(logits, exponent)
    real = np.ldexp(logits.astype(np.float64), exponent)
    exact = np.exp(real - real.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    # half a table step is 2**-11 * ln 2 of a power, the powers lose a step each
    assert np.abs(probabilities / 2.0 ** 15 - exact).max() <= 2.0 ** -11 + 8 * 2.0 ** -15
    assert (sums >= 1 << 15).all()


def test_the_loss_is_the_cross_entropy():
    generator = np.random.default_rng(1)
    logits = generator.integers(-9000, 9000, (100, 10)).astype(np.int16)
    labels = generator.integers(0, 10, 100)
    found = numerics.cross_entropy(logits, -11, labels)
    loss, right = numerics.entropy(found.results(), -11)
    real = np.ldexp(logits.astype(np.float64), -11)
    exact = np.log(np.exp(real).sum(axis=1)) - real[np.arange(100), labels]
    assert np.abs(loss - exact).max() < 1e-3
    probabilities = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    probabilities[np.arange(100), labels] -= 1
    assert np.abs(found.gradient / 2.0 ** 15 - probabilities).max() < 2.0 ** -11
    np.testing.assert_array_equal(right, logits.argmax(axis=1) == labels)


def test_softmax_of_very_fine_logits_is_all_but_even():
    logits = np.array([[-(1 << 15), 0, (1 << 15) - 1]])
    for exponent in (-26, -27, -60):
        probabilities, sums = numerics.softmax(logits, exponent)
        assert np.abs(probabilities / 2.0 ** 15 - 1 / 3).max() < 2.0 ** -10 and sums > 0
