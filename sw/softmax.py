"""TFLite's int8 softmax in 32-bit fixed point, as the reference kernels compute it.

References
----------
``tensorflow/lite/kernels/internal/reference/softmax.h``; ``PreprocessSoftmaxScaling`` and
``CalculateInputRadius`` in ``tensorflow/lite/kernels/internal/quantization_util.cc``;
``exp_on_negative_values`` and ``one_over_one_plus_x_for_x_in_0_1`` in gemmlowp's
``fixedpoint/fixedpoint.h``.
"""

import math

import numpy as np

from systolith.sw.numerics import rounding_divide_by_pot
from systolith.sw.numerics import saturating_rounding_doubling_high_mul as product

__all__ = ["LONGEST", "softmax_int8"]

#: Levels that may be summed: the sum has 12 bits before the point.
LONGEST = 1 << 12
#: Bits behind the point of exponents and of the sum.
_EXPONENT_BITS, _SUM_BITS = 26, 19
_ONE = (1 << 31) - 1
#: Powers of e: of the bits of a negative exponent from 1/4 up, and of -1/8.
_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EIGHTH, _THIRD = 1895147668, 715827883


def softmax_int8(levels: np.ndarray, scale: float, beta: float) -> np.ndarray:
    """Return the softmax over the last axis, int8[...] on the scale 1/256 around -128.

    Parameters
    ----------
    levels : int8[...]
        At most ``LONGEST`` along the last axis.
    scale, beta : float
        The exponent of level q is ``scale * beta * q``.
    """
    powers = _powers_of_differences(scale, beta)
    wide = levels.astype(np.int64)
    below = wide.max(axis=-1, keepdims=True) - wide
    total = rounding_divide_by_pot(powers, 31 - _SUM_BITS)[below].sum(axis=-1, keepdims=True)
    digits = np.frexp(total.astype(np.float64))[1]
    inverse = _inverse((total << (32 - digits)) - (1 << 31))
    shares = rounding_divide_by_pot(product(inverse, powers[below]), digits + (31 - 8 - 20))
    return np.clip(shares - 128, -128, 127).astype(np.int8)


def _powers_of_differences(scale: float, beta: float) -> np.ndarray:
    """Return ``exp(-scale * beta * n)`` for n of 0 to 255, int64[256] in 31 bits; 0 far below."""
    real = float(np.float32(beta)) * float(np.float32(scale)) * (1 << _EXPONENT_BITS)
    fraction, shift = math.frexp(min(real, _ONE))
    reach = math.floor(((1 << 5) - 1) * 2.0 ** (_EXPONENT_BITS - shift))
    below = np.minimum(np.arange(256), reach)
    powers = _power(product(-below << shift, round(fraction * (1 << 31))))
    return np.where(np.arange(256) <= reach, powers, 0)


def _power(x: np.ndarray) -> np.ndarray:
    """Return ``exp(x)`` for int64[...] of 0 and below with 26 bits behind the point."""
    quarter = 1 << (_EXPONENT_BITS - 2)
    near = (x & (quarter - 1)) - quarter
    result = _near_power(near << (31 - _EXPONENT_BITS))
    for bit, factor in enumerate(_POWERS, _EXPONENT_BITS - 2):
        result = np.where((near - x) >> bit & 1, product(result, factor), result)
    return np.where(x == 0, _ONE, result)


def _near_power(x: np.ndarray) -> np.ndarray:
    """Return ``exp(x)`` for x of -1/4 to 0, by the Taylor series around -1/8."""
    x = x + (1 << 28)
    square = product(x, x)
    cube, fourth = product(square, x), product(square, square)
    rest = product(rounding_divide_by_pot(fourth, 2) + cube, _THIRD) + square
    return _EIGHTH + product(_EIGHTH, x + rounding_divide_by_pot(rest, 1))


def _inverse(x: np.ndarray) -> np.ndarray:
    """Return ``1 / (1 + x)`` for x of 0 to 1, both with 31 bits: three steps of Newton's method."""
    half = (x + _ONE + 1) >> 1
    result = 1515870810 + product(half, -1010580540)          # 48/17 - 32/17 * half, 29 bits
    for _ in range(3):
        result = result + (product(result, (1 << 29) - product(half, result)) << 2)
    return np.minimum(result << 1, _ONE)
