"""Watches a router's rounds, to give up one that stands still."""

import re

__all__ = ["OutOfReach", "Watch"]

#: Rounds without progress after which a router is given up.
PATIENCE = 20
#: Overused wires that are few: rounds are short then, and the last wires come and go for long.
FEW = 100
LAST_PATIENCE = 100
#: Rounds after which it is given up in any case. One that meets the clock takes up to two hundred.
ROUNDS = 300
_ROUND = re.compile(r"\biter=(\d+) .*?\boverused=(\d+)(?:.*?\btmgfail=(\d+))?")


class OutOfReach(Exception):
    """The router does not get to the clock; its text says what it stood at."""


class Watch:
    """One run of a router, round after round, from the lines it prints.

    A round has wires used more than once and, where the router is told to rip up what misses the
    clock, connections that do. It is progress if it has fewer overused wires than any before, or
    fewer slow connections than any since then: those are many only when wires are no longer
    shared, and from then on the overused wires come and go.
    """

    def __init__(self):
        self._overused = self._slow = float("inf")
        self._progress = 0

    def read(self, line: str) -> None:
        """Take note of a line.

        Raises
        ------
        OutOfReach
            If the router has made no progress for `PATIENCE` rounds (`LAST_PATIENCE` with a few
            overused wires left), or has had `ROUNDS`.
        """
        found = _ROUND.search(line)
        if not found:
            return
        number, overused, slow = int(found[1]), int(found[2]), int(found[3] or 0)
        if overused < self._overused:
            self._overused, self._slow, self._progress = overused, slow, number
        elif slow < self._slow:
            self._slow, self._progress = slow, number
        patience = LAST_PATIENCE if 0 < self._overused <= FEW else PATIENCE
        if number - self._progress >= patience or number > ROUNDS:
            raise OutOfReach(f"{self._overused} overused wires"
                             + (f" and {self._slow} connections too slow" if self._slow else "")
                             + f" after {number} rounds")
