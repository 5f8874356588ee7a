"""What a device gives back: arrays, and what they cost."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Result", "Run"]


@dataclass(frozen=True, slots=True)
class Result:
    """What one image gave: an array for each output, and the figures of its job.

    ``cycles`` and ``entries`` are None if the next job finished before they could be read.
    """

    outputs: tuple[np.ndarray, ...]
    cycles: int | None
    entries: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """What many images gave.

    ``outputs`` has for each of the program's outputs an array with the images along axis 0.
    ``cycles`` and ``entries`` have one number for each image whose figures were read.
    """

    outputs: tuple[np.ndarray, ...]
    cycles: tuple[int, ...]
    entries: tuple[int, ...]
    seconds: float

    @property
    def cycles_per_image(self) -> float:
        """Mean clock cycles of a job."""
        return float(np.mean(self.cycles))

    @property
    def images_per_second(self) -> float:
        """Images a second of this run, transfers and host work included."""
        return len(self.outputs[0]) / self.seconds
