"""Errors made for people: one line that says what happened, where, why and what to do.

Everything the software raises on purpose derives from :class:`SystolithError`; the command line
prints the message alone and leaves with ``exit_code``. Anything else is a defect.
"""

from dataclasses import dataclass

__all__ = ["CapacityError", "DataError", "ModelError", "Problem", "ProgramError",
           "SystolithError", "UnsupportedError"]


class SystolithError(Exception):
    """Something the user can put right."""

    #: What the command line returns to its caller.
    exit_code = 1


class ModelError(SystolithError):
    """A model file that cannot be read or that contradicts itself."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """A node that cannot be mapped."""

    node: str
    operator: str
    reason: str
    #: What the user can do.
    advice: str

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.operator}): {self.reason}; {self.advice}"


class UnsupportedError(ModelError):
    """A sound model with nodes this compiler cannot map; the message lists all of them.

    Attributes
    ----------
    problems : :class:`tuple` of :class:`Problem`
        One for each node.
    """

    def __init__(self, file: str, problems: list[Problem]):
        self.problems = tuple(problems)
        count = f"{len(problems)} nodes" if len(problems) > 1 else "a node"
        super().__init__(f"{file}: {count} cannot be mapped: " + "; ".join(map(str, problems)))


class DataError(SystolithError):
    """Input or calibration data of the wrong shape, type or value."""

    exit_code = 3


class CapacityError(SystolithError):
    """A network that does not fit the hardware it is compiled for."""

    exit_code = 4


class ProgramError(SystolithError):
    """A program file that is damaged or made for another configuration."""

    exit_code = 5
