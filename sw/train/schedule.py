"""Learning rates over the epochs, as factors of the first."""

import math
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Constant", "Cosine", "Schedule", "Steps"]


class Schedule(Protocol):
    """A factor of the learning rate for each moment of training."""

    def factor(self, epoch: float) -> float:
        """Return the factor after ``epoch`` epochs, fractions of them included."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One rate all the time."""

    def factor(self, epoch: float) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Steps:
    """Times ``ratio`` after every ``every`` epochs."""

    every: int
    ratio: float = 0.1

    def factor(self, epoch: float) -> float:
        """Return the power of the ratio."""
        return self.ratio ** int(epoch // self.every)


@dataclass(frozen=True, slots=True)
class Cosine:
    """Half a cosine over ``epochs`` epochs, from 1 to ``last``."""

    epochs: int
    last: float = 0.0

    def factor(self, epoch: float) -> float:
        """Return the cosine."""
        wave = (1 + math.cos(math.pi * min(1.0, epoch / self.epochs))) / 2
        return self.last + (1 - self.last) * wave
