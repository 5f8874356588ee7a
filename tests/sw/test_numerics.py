"""The integer semantics against a transcription of gemmlowp and TFLite, one number at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.sw.numerics import (
    average_multiplier,
    quantize_multiplier,
    requantize,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


def c_divide(a, b):
    """C's integer division: towards zero."""
    return -(-a // b) if (a < 0) != (b < 0) and a % b else a // b


def gemmlowp_high_mul(a, b):
    """gemmlowp fixedpoint.h, SaturatingRoundingDoublingHighMul; a = b = INT32_MIN cannot occur."""
    ab = a * b
    nudge = 1 << 30 if ab >= 0 else 1 - (1 << 30)
    return c_divide(ab + nudge, 1 << 31)


def gemmlowp_divide_by_pot(x, exponent):
    """gemmlowp fixedpoint.h, RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if remainder > threshold else 0)


def tflite_multiply(x, multiplier, shift):
    """TFLite common.h, MultiplyByQuantizedMultiplier with double rounding."""
    left, right = max(shift, 0), max(-shift, 0)
    return gemmlowp_divide_by_pot(gemmlowp_high_mul(x * (1 << left), multiplier), right)


def tflite_quantize_multiplier(real):
    """TFLite quantization_util.cc, QuantizeMultiplier; returns multiplier and shift."""
    if real == 0:
        return 0, 0
    q, shift = math.frexp(real)
    fixed = int(math.floor(q * (1 << 31) + 0.5))
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    return (0, 0) if shift < -31 else (fixed, shift)


def tflite_average(total, count):
    """TFLite pooling.h, AveragePool before the clamp."""
    half = count // 2
    return c_divide(total + half, count) if total > 0 else c_divide(total - half, count)


@given(INT32, st.integers(0, (1 << 31) - 1))
def test_high_multiply(a, b):
    assert saturating_rounding_doubling_high_mul(a, b) == gemmlowp_high_mul(a, b)


@pytest.mark.parametrize("product", [-3, -2, -1, 1, 2, 3])
def test_high_multiply_at_ties(product):
    a, b = product << 15, 1 << 15  # a * b is a multiple of the half that is rounded
    assert saturating_rounding_doubling_high_mul(a, b) == gemmlowp_high_mul(a, b)


@given(INT32, st.integers(0, 31))
def test_rounding_divide(x, exponent):
    assert rounding_divide_by_pot(x, exponent) == gemmlowp_divide_by_pot(x, exponent)


@given(st.floats(1e-12, 30000), st.data())
def test_requantize(real, data):
    multiplier, left, right = quantize_multiplier(real)
    limit = ((1 << 31) - 1) >> left
    x = data.draw(st.integers(-limit, limit))
    assert requantize(x, multiplier, left, right) == tflite_multiply(
        x, *tflite_quantize_multiplier(real))


def test_requantize_rounds_twice():
    multiplier, left, right = quantize_multiplier(0.225)
    assert (left, right) == (0, 2)
    # 2 * 0.225 = 0.45 is 0 rounded once; but 2 * 0.9 rounds to 2, and 2 / 4 away from zero to 1.
    assert requantize(2, multiplier, left, right) == 1


@given(st.floats(0, 30000))
def test_quantize_multiplier_is_tflites(real):
    multiplier, left, right = quantize_multiplier(real)
    assert (multiplier, left - right) == tflite_quantize_multiplier(real)
    assert left == 0 or right == 0
    assert multiplier == 0 or 1 << 30 <= multiplier < 1 << 31


@pytest.mark.parametrize("real", [-1e-9, math.nan, math.inf, 1e6])
def test_quantize_multiplier_refuses(real):
    with pytest.raises(ValueError, match="rescaling factor"):
        quantize_multiplier(real)


def averages(sums, count):
    """TFLite's averages of int64[n] sums."""
    return np.sign(sums) * ((np.abs(sums) + count // 2) // count)


def test_averages_are_tflites():
    for count in (1, 2, 3, 9, 64):
        sums = np.arange(-128 * count, 127 * count + 1)
        assert averages(sums, count).tolist() == [tflite_average(int(s), count) for s in sums]


def test_average_multiplier_where_the_average_steps():
    """Every count: both sides are monotone, so equality at each step's two edges is a proof."""
    levels = np.arange(-127, 128)
    for count in range(1, 4097):
        # The smallest sum whose average is the level, by definition of half away from zero.
        edges = np.where(levels > 0, -(-(2 * levels - 1) * count // 2),
                         (2 * levels - 1) * count // 2 + 1)
        sums = np.concatenate([edges - 1, edges, [-128 * count, 127 * count]])
        sums = sums[(sums >= -128 * count) & (sums <= 127 * count)]
        expected = averages(sums, count)
        assert (np.diff(np.sort(expected)) <= 1).all()
        assert np.array_equal(requantize(sums, *average_multiplier(count)), expected), count


@pytest.mark.slow
def test_average_multiplier_for_every_sum():
    for count in [*range(1, 513), *range(513, 4097, 37), 4096]:
        sums = np.arange(-128 * count, 127 * count + 1)
        result = requantize(sums, *average_multiplier(count))
        assert np.array_equal(result, averages(sums, count)), count


@pytest.mark.parametrize("count", range(1, 4097, 13))
def test_average_multiplier_fits_32_bits(count):
    multiplier, left, right = average_multiplier(count)
    assert 128 * count << left <= 1 << 31
    assert 1 << 30 <= multiplier < 1 << 31 and 0 <= left <= 15 and 0 <= right <= 31


@pytest.mark.parametrize("count", [0, 4097])
def test_average_multiplier_refuses(count):
    with pytest.raises(ValueError, match="outside 1..4096"):
        average_multiplier(count)
