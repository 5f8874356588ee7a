"""What the engines access at the same time, and what it costs if it lies in the same bank."""

from collections import defaultdict

from systolith.hw.config import Config
from systolith.sw.steps import Step

__all__ = ["BankConflicts"]

#: Elements from (inclusive) to (exclusive).
Span = tuple[int, int]


class BankConflicts:
    """Accesses that meet: a step's map against its weights, its residual operand and its results.

    A bank answers one read a cycle, and the streamed map, the last in the arbiter's order, is read
    with every cycle of the array. So a cycle is lost for every other read from a bank it lies in;
    what lies in several banks loses in proportion. Results count where a bank has a single port.

    Parameters
    ----------
    steps : list of Step
    elements : dict of str to int
        Size of every map.
    constants : list of (int, Span)
        Step that reads it, and place, of every constant.
    config : Config
    """

    def __init__(self, steps: list[Step], elements: dict[str, int],
                 constants: list[tuple[int, Span]], config: Config):
        self._bank = config.bank_words * config.lanes
        #: Of a map: (other map, or the place of a constant; accesses to it).
        self._met: dict[str, list[tuple[str | Span, int]]] = defaultdict(list)
        for step in steps:
            if step.residual:
                reads = elements[step.output] // config.columns
                self._met[step.x].append((step.residual, reads))
                self._met[step.residual].append((step.x, reads))
            if config.bank_ports == "single":
                writes = elements[step.output] // config.post_lanes
                for name in step.inputs:
                    self._met[name].append((step.output, writes))
                    self._met[step.output].append((name, writes))
        for index, span in constants:
            reads = (span[1] - span[0]) // config.lanes
            for name in steps[index].inputs:
                self._met[name].append((span, reads))

    def cost(self, name: str, place: Span, placed: dict[str, Span]) -> int:
        """Return the cycles lost if a map lies at ``place``, given where others are."""
        cycles = 0.0
        for other, count in self._met[name]:
            span = other if isinstance(other, tuple) else placed.get(other)
            if span:
                cycles += count * self._shared(place, span)
        return round(cycles)

    def _shared(self, a: Span, b: Span) -> float:
        """Return how probable it is that a read of ``a`` and one of ``b`` go to one bank."""
        size = (a[1] - a[0]) * (b[1] - b[0])
        first, last = max(a[0], b[0]) // self._bank, (min(a[1], b[1]) - 1) // self._bank
        # spans that lie apart share at most the bank one ends and the other begins in
        banks = range(min(first, last), max(first, last) + 1)
        return sum(self._within(a, bank) * self._within(b, bank) for bank in banks) / max(1, size)

    def _within(self, span: Span, bank: int) -> int:
        begin, end = bank * self._bank, (bank + 1) * self._bank
        return max(0, min(span[1], end) - max(span[0], begin))
