"""The integer semantics of training, written once: exact sums, one shift, one rounding.

Golden model, machine and compiler call these functions; the RTL is to equal them bit for bit.
Tensors are int16 with a value of ``q * 2**exponent``; ``docs/decisions/0012-training.md`` says why.

References
----------
Gupta et al. 2015, "Deep Learning with Limited Numerical Precision" (stochastic rounding);
Beaulieu et al. 2013, "The SIMON and SPECK Families of Lightweight Block Ciphers" (Speck32);
Marsaglia 2003, "Xorshift RNGs" (the seed).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from systolith.hw.exp2 import FRACTION_BITS, INDEX_BITS, LOG2E, TABLE
from systolith.hw.latency import RANDOM_LATENCY

__all__ = [
    "ACCUMULATOR_BITS", "COARSEST", "EXP2", "FRACTION_BITS", "HIGH", "LOW", "MAX_SHIFT",
    "MAX_TERMS", "MAX_TURNS", "RESULT_ELEMENTS", "ROUNDS", "Classified", "Range", "Scaling",
    "coefficient", "cross_entropy", "draw", "entropy", "exponential_shift", "finish", "next_seed",
    "shift", "softmax",
]

#: Least and greatest value of an element.
LOW, HIGH = -(1 << 15), (1 << 15) - 1
#: Width of an accumulator.
ACCUMULATOR_BITS = 48
#: Products of two elements that an accumulator holds for certain, an addend beside them.
MAX_TERMS = (1 << ACCUMULATOR_BITS - 2) // (1 << 30)
#: Largest shift: left of an addend, right of a sum.
MAX_SHIFT = 31
#: Rounds of Speck32 behind a random number: the hardware does one a cycle.
ROUNDS = RANDOM_LATENCY
#: Exponent of logits from which on the softmax takes them as if they had this one.
COARSEST = 15 - INDEX_BITS
#: Elements the loss unit writes for each sample.
RESULT_ELEMENTS = 3
#: Times a job may round an element stochastically.
MAX_TURNS = 256

#: ``2**-(i / 1024)``, 15 fraction bits: a power by the fraction of its exponent.
EXP2 = np.array(TABLE, np.uint16)


@dataclass(frozen=True, slots=True)
class Range:
    """What a result says about itself: bits of its largest magnitude (0 to 15), saturations."""

    bits: int = 0
    saturated: int = 0

    def __or__(self, other: "Range") -> "Range":
        """Return the range of both results together."""
        return Range(max(self.bits, other.bits), self.saturated + other.saturated)


@dataclass(frozen=True, slots=True)
class Scaling:
    """``(factor * operand + (addend << left) + offset) >> right``: a diagonal pass of the array."""

    factor: int
    left: int
    right: int


def shift(sums: np.ndarray, right: int, random: np.ndarray | None = None) -> np.ndarray:
    """Return ``sums / 2**right`` rounded to nearest (ties up), or stochastically.

    Parameters
    ----------
    sums : int64[...]
        Accumulators, an addend included.
    right : int
        0 to 31.
    random : uint16[...], optional
        Of each sum; the fraction of a step it is rounded up from is ``1 - random / 2**16``.
    """
    if not 0 <= right <= MAX_SHIFT:
        raise ValueError(f"a shift of {right} is outside 0..{MAX_SHIFT}")
    if random is None:
        return (sums + (1 << right >> 1)) >> right
    return (sums + (random.astype(np.int64) << right >> 16)) >> right


def finish(sums: np.ndarray, right: int, *, random: np.ndarray | None = None,
           rectify: bool = False, mask: np.ndarray | None = None) -> tuple[np.ndarray, Range]:
    """Return elements of accumulators, and their range: what POST writes.

    Parameters
    ----------
    sums : int64[...]
        Accumulators, an addend included.
    right : int
        0 to 31.
    random : uint16[...], optional
        Rounds stochastically.
    rectify : bool
        The least result is 0, and negative sums do not count as saturated.
    mask : int16[...], optional
        Where it is not positive the result is 0, and does not count as saturated.

    Returns
    -------
    int16[...], Range
    """
    rounded = shift(sums, right, random)
    if mask is not None:
        rounded = np.where(mask > 0, rounded, 0)
    low = 0 if rectify else LOW
    least, greatest = (int(rounded.min()), int(rounded.max())) if rounded.size else (0, 0)
    saturated = 0
    if greatest > HIGH or least < LOW:
        saturated = int(np.count_nonzero(rounded > HIGH))
        if not rectify:
            saturated += int(np.count_nonzero(rounded < LOW))
    if greatest > HIGH or least < low:
        rounded = np.clip(rounded, low, HIGH)
        least, greatest = max(low, least), min(HIGH, greatest)
    bits = max(greatest, ~least if least < 0 else 0, 0).bit_length()
    return rounded.astype(np.int16), Range(bits, saturated)


def coefficient(real: float, *, operand: int, result: int, addend: int | None = None) -> Scaling:
    """Return the integers that compute ``real * operand + addend``.

    Parameters
    ----------
    real : float
        The factor.
    operand, result, addend : int
        Exponents.

    Raises
    ------
    OverflowError
        If the factor needs more than 16 bits at these exponents.
    """
    others = [result] if addend is None else [result, addend]
    if real == 0:
        base, factor = min(others), 0
    else:
        mantissa, power = math.frexp(real)
        base, factor = operand + power - 15, round(mantissa * (1 << 15))
        if abs(factor) == 1 << 15:
            base, factor = base + 1, factor // 2
        if base > min(others):
            raise OverflowError(f"a factor of {real:g} from steps of 2**{operand} to steps of "
                                f"2**{min(others)} has more than 16 bits")
    excess = max(others) - base - MAX_SHIFT
    if excess > 0:                     # the product is far below a step: keep what is left of it
        base, factor = base + excess, round(factor * 2.0 ** -excess)
        if base > min(others):
            raise OverflowError(f"steps of 2**{min(others)} and 2**{max(others)} are more than "
                                f"{MAX_SHIFT} bits apart")
    return Scaling(factor, 0 if addend is None else addend - base, result - base)


def next_seed(seed: int) -> int:
    """Return the seed of the next job: xorshift32; never 0 unless ``seed`` is.

    Parameters
    ----------
    seed : int
        32 bits.
    """
    seed ^= seed << 13 & 0xFFFFFFFF
    seed ^= seed >> 17
    return seed ^ (seed << 5 & 0xFFFFFFFF)


def draw(places: np.ndarray, seed: int, turn: int = 0) -> np.ndarray:
    """Return 16 random bits for each place: rounds of Speck32, place as block, seed as key.

    Parameters
    ----------
    places : uint32[...]
        Addresses of the elements that are rounded, 24 bits.
    seed : int
        32 bits.
    turn : int
        Tells apart the times a job writes a place: the block's upper 8 bits.

    Returns
    -------
    uint16[...]
    """
    if not 0 <= turn < MAX_TURNS:
        raise ValueError(f"a job writes a place {MAX_TURNS} times at most, not {turn + 1}")
    x = (places >> np.uint32(16)).astype(np.uint16) | np.uint16(turn << 8)
    y = places.astype(np.uint16)
    keys = np.uint16(seed & 0xFFFF), np.uint16(seed >> 16)
    for i in range(ROUNDS):
        x = (x >> np.uint16(7)) | (x << np.uint16(9))
        x += y
        x ^= keys[i % 2] ^ np.uint16(i)
        y = ((y << np.uint16(2)) | (y >> np.uint16(14))) ^ x
    return x


def exponential_shift(exponent: int) -> int:
    """Return how far a distance between logits is shifted right, of the logits' exponent.

    Logits in steps finer than 2**-26 are taken as if in such: they are all but equal.
    """
    return min(COARSEST - min(exponent, COARSEST), MAX_SHIFT)


def softmax(logits: np.ndarray, exponent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities, and the sums they were divided by.

    ``2**-u`` of the distances to the largest logit: 10 bits of u's fraction from a table, its
    integer part as a shift; one division for each sample.

    Parameters
    ----------
    logits : int16[n, k]
        Value ``q * 2**exponent``.
    exponent : int
        Below -26 it counts as -26: a step of the table at most. Above 5 it counts as 5: one step
        is a factor of ``exp(-32)`` then, which is 0.

    Returns
    -------
    probabilities : int64[n, k]
        ``p * 2**15``, 0 to 32768.
    sums : int64[n]
        ``2**15`` times the sum of ``exp(logit - largest)``.
    """
    wide = logits.astype(np.int64)
    distance = (wide.max(axis=1, keepdims=True) - wide) * LOG2E
    distance = shift(distance, exponential_shift(exponent))
    powers = EXP2[distance & (1 << INDEX_BITS) - 1].astype(np.int64)
    powers >>= np.minimum(distance >> INDEX_BITS, FRACTION_BITS + 1)
    sums = powers.sum(axis=1)
    reciprocals = (1 << 46) // sums
    return shift(powers * reciprocals[:, None], 31), sums


class Classified(NamedTuple):
    """What the loss unit makes of some samples.

    Attributes
    ----------
    gradient : int64[n, k]
        ``softmax - onehot`` with 15 fraction bits; one step less than 1 at most.
    sums : int64[n]
        ``2**15`` times the sum of ``exp(logit - largest)``.
    behind : int64[n]
        The largest logit less the right one.
    right : bool[n]
        The first of the largest logits is the right one.
    """

    gradient: np.ndarray
    sums: np.ndarray
    behind: np.ndarray
    right: np.ndarray

    def results(self) -> np.ndarray:
        """Return int16[n, RESULT_ELEMENTS]: sum (lower half first), right on top of it, behind."""
        halves = self.sums & 0xFFFF, self.sums >> 16 | self.right.astype(np.int64) << 15
        return np.stack((*halves, self.behind), axis=1).astype(np.uint16).view(np.int16)


def entropy(results: np.ndarray, exponent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each sample's cross-entropy, and whether it is right: of ``Classified.results``.

    Returns
    -------
    float64[n], bool[n]
    """
    low, high, behind = results.view(np.uint16).astype(np.int64).T
    sums = low | (high & 0x7FFF) << 16
    return np.log(sums / (1 << FRACTION_BITS)) + np.ldexp(behind, exponent), high >= 0x8000


def cross_entropy(logits: np.ndarray, exponent: int, labels: np.ndarray) -> Classified:
    """Return the gradient of the cross-entropy by the logits, and what its value is made of.

    Parameters
    ----------
    logits : int16[n, k]
        Value ``q * 2**exponent``.
    exponent : int
        At least -26.
    labels : int[n]
        The right class of each sample.
    """
    gradient, sums = softmax(logits, exponent)
    samples = np.arange(len(labels))
    gradient[samples, labels] -= 1 << FRACTION_BITS
    np.minimum(gradient, HIGH, out=gradient)
    behind = logits.max(axis=1).astype(np.int64) - logits[samples, labels]
    return Classified(gradient, sums, behind, logits.argmax(axis=1) == labels)
