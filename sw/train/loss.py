"""Losses of a micro-batch: the gradient by the logits, what is reported, the range."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from systolith.sw.train import numerics
from systolith.sw.train.numerics import Range, coefficient, finish
from systolith.sw.train.steps import CrossEntropy, Loss, SquaredError

__all__ = ["LossResult", "evaluate"]


@dataclass(frozen=True, slots=True)
class LossResult:
    """A loss: int16 gradient by the logits, sum over the samples, samples that are right."""

    gradient: np.ndarray
    range: Range
    total: float
    correct: int = 0


def evaluate(loss: Loss, logits: np.ndarray, targets: np.ndarray, exponents: Mapping[str, int],
             mask: np.ndarray | None) -> LossResult:
    """Return the loss of int16[n, h, w, c] logits, summed over the samples.

    Parameters
    ----------
    loss : Loss
        Which one.
    logits : int16[n, h, w, c]
        Results of the network.
    targets : int[n] or int16[n, h, w, c]
        Labels for the cross-entropy, values in steps of the logits for the squared error.
    exponents : mapping of name to int
        Of the logits and of the gradient.
    mask : int16[n, h, w, c] or None
        Lets the gradient through where it is positive.
    """
    return _LOSSES[type(loss)](loss, logits, targets, exponents, mask)


def _cross_entropy(loss: CrossEntropy, logits, labels, exponents, mask) -> LossResult:
    flat = logits.reshape(len(logits), -1)
    gradient, total = numerics.cross_entropy(flat, exponents[loss.logits], labels)
    right = exponents[loss.result] - loss.sums(exponents)
    elements, found = finish(gradient.reshape(logits.shape), right, mask=mask)
    return LossResult(elements, found, float(total.sum()),
                      int((flat.argmax(axis=1) == labels).sum()))


def _squared_error(loss: SquaredError, logits, targets, exponents, mask) -> LossResult:
    exponent, outputs = exponents[loss.logits], logits[0].size
    scale = coefficient(2 / outputs, operand=exponent, result=exponents[loss.result])
    distance = logits.astype(np.int64) - targets
    squares = np.square(np.ldexp(distance.astype(np.float64), exponent))
    elements, found = finish(scale.factor * distance, scale.right, mask=mask)
    return LossResult(elements, found, float(squares.sum() / outputs))


_LOSSES = {CrossEntropy: _cross_entropy, SquaredError: _squared_error}
