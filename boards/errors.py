"""The error of the build flow."""

__all__ = ["BoardError"]


class BoardError(RuntimeError):
    """Something a person can mend: an unknown target, a missing tool, a design that does not fit.

    The message is one line: what happened, where, and what to do.
    """
