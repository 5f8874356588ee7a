"""Operations that TFLite rescales in its own way, as drafts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from systolith.sw.importer.drafts import ConvDraft, Draft
from systolith.sw.ir import Op, Pool, Requant, Tensor
from systolith.sw.numerics import quantize_multiplier, requantize

__all__ = ["FullyConnectedDraft", "MeanDraft", "ProductDraft", "ScaledDraft", "SumDraft",
           "fit_products"]

#: Largest distance between a result and its zero point.
_LEVELS = 255


@dataclass(kw_only=True, slots=True)
class MeanDraft(Draft):
    """The mean over a window: the count divides the multiplier, not the sum.

    Source: ``QuantizedMeanOrSum`` in
    ``tensorflow/lite/kernels/internal/reference/reduce.h``.
    """

    kernel: tuple[int, int]

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the pooling; see :meth:`Draft.finish`."""
        source, output = tensors[self.inputs[0]], tensors[self.output]
        count = math.prod(self.kernel)
        largest = np.array([max(127 - source.zero_point, 128 + source.zero_point) * count])
        whole = self.requant(np.array([source.scale / output.scale]), largest)
        return Pool(**self.common(output), mode="average", kernel=self.kernel,
                    requant=_divided(whole, count))


@dataclass(kw_only=True, slots=True)
class SumDraft(ConvDraft):
    """A convolution of one output with weights of 1, rescaled as :class:`MeanDraft` is."""

    def requant(self, factors: np.ndarray, largest: np.ndarray, lift: bool = False) -> Requant:
        """Return the Requant of the mean; see :meth:`Draft.requant`."""
        return _divided(Draft.requant(self, factors, largest), self.weights.size)


def _divided(whole: Requant, count: int) -> Requant:
    """Return a rescaling whose multiplier is divided, with as many bits as TFLite keeps."""
    exponent = int(whole.left[0]) - int(whole.right[0])
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    exponent -= shift
    multiplier = (int(whole.multiplier[0]) << shift) // count
    return Requant(*(np.array([n], np.int32)
                     for n in (multiplier, max(exponent, 0), max(-exponent, 0))))


@dataclass(kw_only=True, slots=True)
class ScaledDraft(ConvDraft):
    """A convolution whose rescaling factor is given: some kernels compute it in float32."""

    factor: float

    def requant(self, factors: np.ndarray, largest: np.ndarray, lift: bool = False) -> Requant:
        """Return the Requant of the factor given; see :meth:`Draft.requant`."""
        return Draft.requant(self, np.full(factors.shape, self.factor), largest, lift)


@dataclass(kw_only=True, slots=True)
class ProductDraft(ConvDraft):
    """A convolution of 1 x 1 whose rescaling is given: see :func:`fit_products`."""

    rescaling: Requant

    def requant(self, factors: np.ndarray, largest: np.ndarray, lift: bool = False) -> Requant:
        """Return the Requant given; see :meth:`Draft.requant`."""
        if ((largest << self.rescaling.left.astype(np.int64)) >= 1 << 31).any():
            self.node.refuse("its accumulator may leave 32 bits", "quantise the model again")
        return self.rescaling


def fit_products(constants: np.ndarray, factor: float,
                 zero_point: int) -> tuple[np.ndarray, Requant] | None:
    """Return int8[c] weights and a rescaling that give a map's products with constants.

    That is ``requantize((q - zero_point) * constant)`` for every q. Constants beyond int8 are
    halved and lifted again, exactly, where they are even; for odd ones a multiplier of the map
    itself is looked for that agrees for every q. None: there is none.

    Parameters
    ----------
    constants : int64[c]
        -255 to 255.
    factor : float
        What TFLite rescales the products with.
    zero_point : int
        Of the map.

    Raises
    ------
    ValueError
        See :func:`quantize_multiplier`.
    """
    levels = np.arange(-128, 128) - zero_point
    plain = quantize_multiplier(factor)
    weights, parts = [], []
    for constant in (int(n) for n in constants):
        multiplier, left, right = plain
        weight = constant
        if not -128 <= constant <= 127:
            wanted = requantize(levels * constant, *plain)
            weight = (constant > 0) - (constant < 0)
            near = quantize_multiplier(factor * abs(constant))
            tries = [(weight, (near[0] + delta, *near[1:])) for delta in (0, -1, 1, -2, 2)]
            if constant % 2 == 0:
                tries.insert(0, (constant // 2, (multiplier, left + 1, right)))
            found = next(((w, p) for w, p in tries if p[0] < 1 << 31 and p[1] <= 15
                          and np.array_equal(requantize(levels * w, *p), wanted)), None)
            if found is None:
                return None
            weight, (multiplier, left, right) = found
        weights.append(weight)
        parts.append((multiplier, left, right))
    return np.array(weights, np.int8), Requant(*np.array(parts, np.int32).T)


@dataclass(kw_only=True, slots=True)
class FullyConnectedDraft(ConvDraft):
    """A fully connected layer, which TFLite rounds once, in double precision.

    ``round(accumulator * (scale_x * scale_w / scale_y))``, ties away from zero. No fixed
    multiplier does that for all integers, but for those that can occur one can be found: the
    result steps at no more than 255 accumulators, and where the steps agree all agrees.
    """

    #: How many levels above and below its zero point the result has.
    levels: tuple[int, int] = (_LEVELS, _LEVELS)

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the convolution; see :meth:`Draft.finish`."""
        output = tensors[self.output]
        bounds = self.common(output)
        self.levels = (bounds["high"] - output.zero_point, output.zero_point - bounds["low"])
        return ConvDraft.finish(self, tensors)

    def requant(self, factors: np.ndarray, largest: np.ndarray, lift: bool = False) -> Requant:
        """Return a Requant with the same steps; see :meth:`Draft.requant`."""
        plain = Draft.requant(self, factors, largest)
        lifted = Draft.requant(self, factors, largest, lift=True)
        steps = _first_accumulators(factors)[:, :max(*self.levels, 0)]
        found = [array.astype(np.int64) for array in
                 (plain.multiplier, plain.left, plain.right)]
        wrong = np.flatnonzero(~_steps_agree(found, steps, largest, self.levels))
        for lift in range(int((lifted.left - plain.left).max(initial=0)), -1, -1):
            extra = np.minimum(lift, lifted.left - plain.left)[wrong]
            left, right = plain.left[wrong] + extra, plain.right[wrong] + extra
            tried = [_multiplier(steps[wrong], largest[wrong], left, right), left, right]
            good = _steps_agree(tried, steps[wrong], largest[wrong], self.levels)
            for array, values in zip(found, tried, strict=True):
                array[wrong[good]] = values[good]
            wrong = wrong[~good]
        if wrong.size:
            self.node.refuse(f"channel {wrong[0]} rounds as no 31-bit multiplier does",
                             "layers of up to a thousand inputs have one: split the layer, or "
                             "quantise the model again, which changes its scales, or take it as "
                             "ONNX, where a step of difference at ties is allowed")
        return Requant(*(array.astype(np.int32) for array in found))


def _multiplier(steps: np.ndarray, largest: np.ndarray, left: np.ndarray,
                right: np.ndarray) -> np.ndarray:
    """Return the multipliers int64[o] most likely to step right, given the shifts.

    A result reaches q where ``accumulator * 2**left * multiplier`` exceeds ``bound * 2**31``, so
    each accumulator that must reach q is a lower bound of the multiplier, the one before an upper.
    """
    right = right[:, None]
    bound = np.ldexp(np.arange(1, steps.shape[1] + 1) - 0.5, right) - np.where(right, 0.5, 0)
    bound = np.ldexp(bound, 31 - left[:, None])
    least = np.where(steps <= largest[:, None], bound / np.maximum(steps, 1), 0)
    before = (steps > 1) & (steps - 1 <= largest[:, None])
    most = np.where(before, bound / np.maximum(steps - 1, 1), np.inf)
    low, high = least.max(axis=1, initial=0), most.min(axis=1, initial=1 << 31)
    return np.clip(np.floor((low + high) / 2), 0, (1 << 31) - 1).astype(np.int64)


def _first_accumulators(factors: np.ndarray) -> np.ndarray:
    """Return int64[o, 255]: the least accumulators that become 1, 2, ... 255; 2**62 for none."""
    levels = np.arange(1, _LEVELS + 1) - 0.5
    safe = np.where(factors > 0, factors, 1.0)[:, None]
    first = np.minimum(np.ceil(levels / safe), 1 << 53)
    for _ in range(2):  # the quotient may be off by one, the product decides
        first = np.where((first - 1) * safe >= levels, first - 1, first)
        first = np.where(first * safe < levels, first + 1, first)
    return np.where(factors[:, None] > 0, first, 1 << 62).astype(np.int64)


def _steps_agree(requant: list[np.ndarray], steps: np.ndarray, largest: np.ndarray,
                 levels: tuple[int, int]) -> np.ndarray:
    """Tell for each channel whether a rescaling steps at ``steps`` and at their negatives.

    Only at so many ``levels`` above and below zero, and at accumulators up to ``largest``.
    """
    parts = [array[:, None] for array in requant]
    agree = np.ones(len(steps), bool)
    for sign, count in zip((1, -1), levels, strict=True):
        reached = np.arange(1, max(count, 0) + 1)
        for before in (0, 1):
            at = steps[:, :reached.size] - before
            possible = at <= largest[:, None]
            result = sign * requantize(sign * np.where(possible, at, 0), *parts)
            right = result < reached if before else result >= reached
            agree &= (~possible | right).all(axis=1)
    return agree
