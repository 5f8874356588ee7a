"""What a device gives back: arrays, and what they cost."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Result", "Run"]


@dataclass(frozen=True, slots=True)
class Result:
    """What one image gave: an array for each output, and the figures of its job.

    ``cycles`` and ``entries`` are those of the whole job, whose images all have them; None if the
    next job finished before they could be read.
    """

    outputs: tuple[np.ndarray, ...]
    cycles: int | None
    entries: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """What many images gave.

    ``outputs`` has for each of the program's outputs an array with the images along axis 0.
    ``cycles`` and ``entries`` have one number for each image whose figures were read, that of its
    job, which took ``batch`` images. Of a network
    in segments every program has a run of its own in ``segments``; ``cycles`` are their sums then,
    or empty where those of an image are not complete.
    """

    outputs: tuple[np.ndarray, ...]
    cycles: tuple[int, ...]
    entries: tuple[int, ...]
    seconds: float
    segments: tuple["Run", ...] = ()
    batch: int = 1

    @classmethod
    def joined(cls, outputs: tuple[np.ndarray, ...], segments: list["Run"],
               seconds: float) -> "Run":
        """Return the run of a network in segments."""
        def summed(figures: list[tuple[int, ...]]) -> tuple[int, ...]:
            complete = all(len(one) == len(outputs[0]) for one in figures)
            return tuple(map(sum, zip(*figures, strict=True))) if complete else ()

        return cls(outputs, summed([run.cycles for run in segments]),
                   summed([run.entries for run in segments]), seconds, tuple(segments))

    @property
    def cycles_per_image(self) -> float:
        """Mean clock cycles of an image: its share of its job, summed over the segments."""
        if self.segments:
            return sum(run.cycles_per_image for run in self.segments)
        return float(np.mean(self.cycles)) / self.batch if self.cycles else 0.0

    @property
    def images_per_second(self) -> float:
        """Images a second of this run, transfers and host work included."""
        return len(self.outputs[0]) / self.seconds
