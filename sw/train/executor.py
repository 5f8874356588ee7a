"""What trains a network for the trainer: a golden model now, a device later.

An executor holds the parameters and their gradients as int16 arrays. Exponents are numbers of
the program it runs, so they come with every call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from systolith.sw.train.numerics import Range

__all__ = ["Executor", "Report", "Rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Stochastic gradient descent: what an update does, as real numbers.

    A gradient is summed over the batch, on top of what the last update left in its place:
    ``w = w - rate / batch * gradient;  gradient = momentum * gradient + decay * batch * w``. That
    is momentum and decay as ever, but for the first update, which has no decay.
    """

    rate: float
    batch: int
    momentum: float = 0.0
    #: Of weights only, not of biases.
    decay: float = 0.0


@dataclass(slots=True)
class Report:
    """What came back from micro-batches."""

    samples: int = 0
    #: Sum over the samples.
    loss: float = 0.0
    #: Samples whose largest logit (the first of equal ones) is the label's.
    correct: int = 0
    ranges: dict[str, Range] = field(default_factory=dict)

    def add(self, other: "Report") -> None:
        """Take up another report."""
        self.samples += other.samples
        self.loss += other.loss
        self.correct += other.correct
        for name, found in other.ranges.items():
            self.ranges[name] = self.ranges.get(name, Range()) | found


class Executor(Protocol):
    """Runs the items of a plan; every call but the first two is a job of the device."""

    def upload(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write parameters and gradients, int16 by name."""

    def download(self) -> dict[str, np.ndarray]:
        """Return parameters and gradients, int16 by name."""

    def predict(self, x: np.ndarray, exponents: Mapping[str, int]) -> np.ndarray:
        """Return the logits int16[n, h, w, c] of int16[n, h, w, c]."""

    def accumulate(self, x: np.ndarray, targets: np.ndarray, exponents: Mapping[str, int],
                   seed: int) -> Report:
        """Run forward, loss and backward on a micro-batch and add to the gradients.

        ``targets``: int[n] labels for the cross-entropy, int16[n, h, w, c] in steps of the
        logits for the squared error.
        """

    def update(self, rule: Rule, exponents: Mapping[str, int], seed: int) -> Report:
        """Change parameters by their gradients, and leave what momentum and decay keep of them."""

    def rescale(self, name: str, by: int) -> None:
        """Shift a parameter or gradient right by ``by`` bits (left if negative)."""
