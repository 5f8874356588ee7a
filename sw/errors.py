"""Errors made for people: one line that says what happened, where, why and what to do.

Everything the software raises on purpose derives from :class:`SystolithError`; the command line
prints the message alone and leaves with ``exit_code``. Anything else is a defect.
"""

__all__ = ["CapacityError", "DataError", "ModelError", "ProgramError", "SystolithError",
           "TrainingError", "UnsupportedError"]


class SystolithError(Exception):
    """Something the user can put right."""

    #: What the command line returns to its caller.
    exit_code = 1


class ModelError(SystolithError):
    """A model file that cannot be read or that contradicts itself."""

    exit_code = 2


class UnsupportedError(ModelError):
    """A sound model with nodes this compiler cannot map; the message lists all of them.

    Attributes
    ----------
    problems : :class:`tuple` of :class:`str`
        One sentence for each node: node, operator, reason, what to do.
    """

    def __init__(self, file: str, problems: list[str]):
        self.problems = tuple(problems)
        count = f"{len(problems)} nodes" if len(problems) > 1 else "a node"
        super().__init__(f"{file}: {count} cannot be mapped: " + "; ".join(problems))


class DataError(SystolithError):
    """Input or calibration data of the wrong shape, type or value."""

    exit_code = 3


class CapacityError(SystolithError):
    """A network that does not fit the hardware it is compiled for."""

    exit_code = 4


class ProgramError(SystolithError):
    """A program file that is damaged or made for another configuration."""

    exit_code = 5


class TrainingError(SystolithError):
    """Training that cannot begin or go on: it diverged, or its settings do not fit the numbers."""

    exit_code = 7
