"""Losses of a micro-batch: the gradient by the logits, its range, what host and device exchange."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from systolith.sw.train.numerics import (
    RESULT_ELEMENTS,
    Range,
    coefficient,
    cross_entropy,
    entropy,
    finish,
)
from systolith.sw.train.steps import CrossEntropy, Loss, SquaredError

__all__ = ["LossResult", "evaluate", "value", "written"]


@dataclass(frozen=True, slots=True)
class LossResult:
    """A loss: int16 gradient by the logits, sum over the samples, samples that are right."""

    gradient: np.ndarray
    #: None where the gradient's exponent is fixed.
    range: Range | None
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


def written(loss: Loss, targets: np.ndarray) -> np.ndarray:
    """Return the elements of the map ``loss.targets``: the host writes them before a step."""
    if isinstance(loss, SquaredError):
        return targets.astype(np.int16)
    elements = np.zeros((len(targets), 1, 1, RESULT_ELEMENTS + 1), np.int16)
    elements[..., RESULT_ELEMENTS] = targets[:, None, None]
    return elements


def value(loss: Loss, kept: np.ndarray, targets: np.ndarray,
          exponents: Mapping[str, int]) -> tuple[float, int]:
    """Return the sum over the samples, and how many are right, of what a step left behind.

    Parameters
    ----------
    loss : Loss
        Which one.
    kept : int16[n, h, w, c]
        The map ``loss.kept``.
    targets : int[n] or int16[n, h, w, c]
        As for :func:`evaluate`.
    exponents : mapping of name to int
        Of the logits.
    """
    exponent = exponents[loss.logits]
    if isinstance(loss, SquaredError):
        distance = np.ldexp((kept.astype(np.int64) - targets).astype(np.float64), exponent)
        return float(np.square(distance).sum() / kept[0].size), 0
    each, right = entropy(np.ascontiguousarray(kept[:, 0, 0, :RESULT_ELEMENTS]), exponent)
    return float(each.sum()), int(right.sum())


def _cross_entropy(loss: CrossEntropy, logits, labels, exponents, mask) -> LossResult:
    found = cross_entropy(logits.reshape(len(logits), -1), exponents[loss.logits], labels)
    elements, _ = finish(found.gradient.reshape(logits.shape), 0, mask=mask)
    each, right = entropy(found.results(), exponents[loss.logits])
    return LossResult(elements, None, float(each.sum()), int(right.sum()))


def _squared_error(loss: SquaredError, logits, targets, exponents, mask) -> LossResult:
    scale = coefficient(2 / logits[0].size, operand=exponents[loss.logits],
                        result=exponents[loss.result])
    elements, found = finish(scale.factor * (logits.astype(np.int64) - targets), scale.right,
                             mask=mask)
    return LossResult(elements, found, *value(loss, logits, targets, exponents))


_LOSSES = {CrossEntropy: _cross_entropy, SquaredError: _squared_error}
