"""The integer semantics of every result, written once: TFLite's int8 reference kernels.

Golden model, instruction-level model and compiler call these functions; the RTL is tested equal
to them bit for bit.

References
----------
Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 2.2; gemmlowp ``fixedpoint.h``; TensorFlow Lite
``kernels/internal/common.h`` and ``reference/integer_ops/{conv,add,pooling}.h``.
"""

import math

import numpy as np

__all__ = [
    "ADD_LEFT_SHIFT", "HALF", "average_multiplier", "quantize_multiplier", "requantize",
    "rounding_divide_by_pot", "saturate", "saturating_rounding_doubling_high_mul",
]

#: TFLite's int8 ADD lifts both operands by this many bits before rescaling them.
ADD_LEFT_SHIFT = 20
#: Multiplier and right shift of a half, with which it rescales the operand of the larger scale.
HALF = (1 << 30, 0)


def saturating_rounding_doubling_high_mul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``floor((a * b + 2**30) / 2**31)``: gemmlowp's high multiply for ``0 <= b < 2**31``.

    Parameters
    ----------
    a : int64[...]
        Values that fit in 32 bits.
    b : int64[...]
        Factors, value ``b / 2**31``.
    """
    return (np.asarray(a, np.int64) * np.asarray(b, np.int64) + (1 << 30)) >> 31


def rounding_divide_by_pot(x: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return ``x / 2**exponent`` rounded to nearest, ties away from zero."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def requantize(x: np.ndarray, multiplier: np.ndarray, left: np.ndarray,
               right: np.ndarray) -> np.ndarray:
    """Return ``x * 2**left * multiplier / 2**31 / 2**right`` with gemmlowp's double rounding.

    Parameters
    ----------
    x : int64[...]
        Accumulators; ``x << left`` must fit in 32 bits (the compiler proves it).
    multiplier, left, right : int[...]
        Factor (31 bits), left shift (0 to 15) and right shift (0 to 31), broadcast against ``x``.
    """
    shifted = np.asarray(x, np.int64) << np.asarray(left, np.int64)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, multiplier), right)


def saturate(x: np.ndarray, low: int, high: int) -> np.ndarray:
    """Clamp ``x`` to ``low..high``."""
    return np.clip(x, low, high)


def quantize_multiplier(real: float) -> tuple[int, int, int]:
    """Split a non-negative factor into ``(multiplier, left, right)`` for :func:`requantize`.

    The multiplier is normalised to 2**30..2**31 - 1 as TFLite's ``QuantizeMultiplier`` does.

    Raises
    ------
    ValueError
        If the factor is negative, not finite, or too large for a left shift of 15.
    """
    if not (math.isfinite(real) and real >= 0):
        raise ValueError(f"a rescaling factor must be finite and not negative, not {real!r}")
    if real == 0:
        return 0, 0, 0
    mantissa, exponent = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = 1 << 30, exponent + 1
    if exponent < -31:
        return 0, 0, 0
    if exponent > 15:
        raise ValueError(f"a rescaling factor of {real:g} needs a left shift above 15")
    return multiplier, max(exponent, 0), max(-exponent, 0)


def average_multiplier(count: int) -> tuple[int, int, int]:
    """Return ``(multiplier, left, right)`` that divide a sum by ``count``, ties away from zero.

    Equal to TFLite's ``AVERAGE_POOL_2D`` rounding for every sum of ``count`` int8 values
    (``tests/sw/test_numerics.py`` proves it for every count allowed). The left shift lifts the
    quotient so far above the rounding of the high multiply that a tie stays a tie.

    Raises
    ------
    ValueError
        If ``count`` is outside 1..4096.
    """
    if not 1 <= count <= 4096:
        raise ValueError(f"an average over {count} elements is outside 1..4096")
    bits = (count * 128).bit_length()
    left = min(15, 31 - bits)
    shift = (count - 1).bit_length()
    multiplier = -(-(1 << 30 + shift) // count) if count & count - 1 else 1 << 30
    return multiplier, left, left + shift - 1
