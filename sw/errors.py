"""Errors made for people: one line that says what happened, where, why and what to do.

Everything the software raises on purpose derives from :class:`SystolithError`; the command line
prints the message alone and leaves with ``exit_code``. Anything else is a defect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CapacityError", "DataError", "ModelError", "ProgramError", "Refusal",
           "ShortageError", "SystolithError", "TrainingError", "UnsupportedError"]


class SystolithError(Exception):
    """Something the user can put right."""

    #: What the command line returns to its caller.
    exit_code = 1


class ModelError(SystolithError):
    """A model file that cannot be read or that contradicts itself."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that cannot be mapped: which, why, and what the user can do."""

    node: str
    op: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.op}): {self.reason}; {self.advice}"


class UnsupportedError(ModelError):
    """A sound model with nodes this compiler cannot map; the message lists all of them.

    Attributes
    ----------
    refusals : :class:`tuple` of :class:`Refusal`
        One for each node.
    origins : :class:`tuple` of :class:`systolith.sw.origin.Origin`
        What became of every node of the file.
    """

    def __init__(self, file: str, refusals: Sequence[Refusal], origins: Sequence[Any] = ()):
        self.refusals, self.origins = tuple(refusals), tuple(origins)
        count = f"{len(refusals)} nodes" if len(refusals) > 1 else "a node"
        super().__init__(f"{file}: {count} cannot be mapped: " + "; ".join(self.problems))

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each node: node, operator, reason, what to do."""
        return tuple(map(str, self.refusals))


class DataError(SystolithError):
    """Input or calibration data of the wrong shape, type or value."""

    exit_code = 3


class CapacityError(SystolithError):
    """A network that does not fit the hardware it is compiled for.

    Parameters
    ----------
    reason, advice : str
        What does not fit, and what to do.
    layer : str, optional
        The layer that does not; the message begins with it.

    Attributes
    ----------
    parts : tuple of CapacityError
        One for each thing that does not fit; of a single one itself.
    layers : list of :class:`systolith.sw.program.LayerInfo`
        What is known of the layers, without cycles; empty where that was not reached.
    """

    exit_code = 4

    def __init__(self, reason: str, advice: str = "", layer: str | None = None):
        text = f"{layer}: {reason}" if layer else reason
        super().__init__(f"{text}; {advice}" if advice else text)
        self.reason, self.advice, self.layer = reason, advice, layer
        self.parts: tuple[CapacityError, ...] = (self,)
        self.layers: list[Any] = []

    @classmethod
    def joined(cls, errors: "Sequence[CapacityError]") -> "CapacityError":
        """Return several errors as one, a single one as it is."""
        if len(errors) == 1:
            return errors[0]
        error = cls("; ".join(map(str, errors)))
        error.parts = tuple(part for each in errors for part in each.parts)
        error.layers = [layer for each in errors for layer in each.layers]
        return error


class ShortageError(CapacityError):
    """Weights and feature maps that memory cannot hold.

    Parameters
    ----------
    reason, advice : str
        What does not fit, and what to do.
    constants, maps, available : int
        Bytes of weights and parameters, of the maps at the fullest moment, and of memory.
    worst : str
        The layer at that moment.
    """

    def __init__(self, reason: str, advice: str, *, constants: int, maps: int, available: int,
                 worst: str):
        super().__init__(reason, advice)
        self.constants, self.maps, self.available, self.worst = constants, maps, available, worst


class ProgramError(SystolithError):
    """A program file that is damaged or made for another configuration."""

    exit_code = 5


class TrainingError(SystolithError):
    """Training that cannot begin or go on: it diverged, or its settings do not fit the numbers."""

    exit_code = 7
