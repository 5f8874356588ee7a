"""Groups of a training job side by side: as few NumPy calls as the order of the job allows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from systolith.sim.training.schedule import Fill, Group, Losses, Passes
from systolith.sw.train import numerics

__all__ = ["Batch", "Range", "batches"]


@dataclass(slots=True)
class Range:
    """The range of the results so far, since the last report: OR of magnitudes, saturations."""

    bits: int = 0
    saturated: int = 0


class _Sums:
    """Passes of several groups, of the same shape, that go to the same of their own sums."""

    def __init__(self, passes: list[Passes], columns: int, sums: np.ndarray):
        vectors = np.stack([p.vectors for p in passes])
        tiles = np.stack([p.tiles[..., :columns] for p in passes])
        #: Whether the vectors of each pass go to different sums, and whether they replace them.
        self.alone, self.replaces = [_distinct(places) for places in sums], passes[0].replaces
        outer = passes[0].outer
        if (not outer and self.alone[0] and (sums == sums[0]).all()
                and not self.replaces[1:].any()):
            # one product over the reductions of all passes
            groups, count, size, rows = vectors.shape
            vectors = vectors.transpose(0, 2, 1, 3).reshape(groups, size, count * rows)
            tiles = tiles.reshape(groups, count * rows, columns)
            sums, self.replaces = sums[:1], self.replaces[:1]
            self.alone = self.alone[:1]
        elif outer:
            vectors = vectors.transpose(0, 1, 3, 2)
        if _distinct(sums) and (self.replaces == self.replaces[0]).all():
            # one assignment of all passes
            sums, self.replaces, self.alone = sums.reshape(1, -1), self.replaces[:1], [True]
        self.sums = sums
        self.vectors, self.tiles = np.ascontiguousarray(vectors), np.ascontiguousarray(tiles)

    def add(self, memory: np.ndarray, store: np.ndarray) -> None:
        """Add to ``store`` [groups, sums, columns]; exact, because a sum has at most 48 bits."""
        products = (memory.take(self.vectors).astype(np.float64)
                    @ memory.take(self.tiles).astype(np.float64))
        products = products.reshape(len(store), len(self.sums), -1, store.shape[2])
        for number, (places, replaces) in enumerate(zip(self.sums, self.replaces, strict=True)):
            if replaces:
                store[:, places] = products[:, number]
            elif self.alone[number]:
                store[:, places] += products[:, number]
            else:
                np.add.at(store, (slice(None), places), products[:, number])


class Batch:
    """Groups that do the same at other addresses, none of which touches what another one writes.

    Parameters
    ----------
    groups : list of Group
        In order.
    """

    def __init__(self, groups: list[Group]):
        first = groups[0]
        self.form, self.seed, self.report = first.form, first.seed, groups[-1].report
        self.size, self._sums, self.accumulators = _sums(groups)
        self.groups = len(groups)
        self.places, self.operands, self.masks, self.records = (
            None if getattr(first, name) is None
            else np.concatenate([getattr(group, name) for group in groups])
            for name in ("places", "operands", "masks", "records"))
        ends = np.concatenate([group.ends for group in groups])
        begins = np.concatenate(([True], ends[:-1]))
        self.begins, self.ends = np.flatnonzero(begins), np.flatnonzero(ends)
        self.windows = len(self.ends) < len(ends)
        #: The number of each step in its window.
        self.taps = np.arange(len(ends)) - np.repeat(
            self.begins, np.diff([*self.begins, len(ends)]))

    def run(self, memory: np.ndarray, words: np.ndarray, measured: Range) -> None:
        """Do it.

        Parameters
        ----------
        memory : int16[n]
            All elements, and those beyond the end.
        words : uint32[n]
            The program, which has the seeds.
        measured : Range
            What a report tells.
        """
        store = np.empty((self.groups, self.size, self.places.shape[1]))
        for sums in self._sums:
            sums.add(memory, store)
        totals = store[:, self.accumulators].reshape(self.places.shape).astype(np.int64)
        y = self._finished(memory, totals, words, measured)
        if self.form["comparing"]:
            memory[self.places] = y
        else:
            self._maxima(memory, y)
        if self.report is not None:
            elements = np.array([measured.bits, measured.saturated & 0xFFFF,
                                 measured.saturated >> 16])
            memory[self.report:self.report + 3] = elements.astype(np.uint16).view(np.int16)
            measured.bits = measured.saturated = 0

    def _finished(self, memory, totals, words, measured) -> np.ndarray:
        """Return elements of sums, and add to the range."""
        form = self.form
        mask = None if self.masks is None else memory.take(self.masks)
        if form["comparing"]:
            equal = memory.take(self.operands) == self.taps[:, None]
            mask = equal.astype(np.int16) if mask is None else np.where(equal, mask, 0)
        elif self.operands is not None:
            totals += memory.take(self.operands).astype(np.int64) << form["left"]
        random = None
        if form["stochastic"]:
            seed = 0 if self.seed is None else int(words[self.seed])
            random = numerics.draw(self.places.astype(np.uint32), seed, form["turn"])
        y, found = numerics.finish(totals, form["right"], random=random,
                                   rectify=bool(form["rectify"]), mask=mask)
        if form["counted"]:
            measured.bits |= int(np.bitwise_or.reduce(y ^ y >> 15, axis=None))
            measured.saturated += found.saturated
        return y

    def _maxima(self, memory, y) -> None:
        """Write the largest of each window, and the first tap that has it."""
        best = np.maximum.reduceat(y, self.begins) if self.windows else y
        memory[self.places[self.ends] if self.windows else self.places] = best
        if self.records is not None:
            sizes = np.diff([*self.begins, len(y)])
            missing = np.where(y == np.repeat(best, sizes, axis=0), self.taps[:, None], len(y))
            memory[self.records[self.ends]] = np.minimum.reduceat(missing, self.begins)


def _distinct(values: np.ndarray) -> bool:
    return len(np.unique(values)) == values.size


def _sums(groups: list[Group]) -> tuple[int, list[_Sums], np.ndarray]:
    """Return how many sums a group has, what goes to them, and which one each step reads."""
    columns = groups[0].places.shape[1]
    used = np.unique(np.concatenate([p.sums.ravel() for p in groups[0].passes]))
    added = [_Sums([group.passes[i] for group in groups], columns,
                   np.searchsorted(used, p.sums)) for i, p in enumerate(groups[0].passes)]
    return len(used), added, np.searchsorted(used, groups[0].accumulators)


def batches(steps: Iterable[Group | Fill | Losses],
            elements: int) -> list[Batch | Fill | Losses]:
    """Put groups that follow one another together where nothing can tell.

    Parameters
    ----------
    steps : iterable of Group, Fill or Losses
        A job.
    elements : int
        Of the memory and what lies beyond it.
    """
    result: list[Batch | Fill | Losses] = []
    together: list[Group] = []
    written = np.zeros(elements, bool)
    kind: tuple = ()

    def end() -> None:
        if together:
            result.append(Batch(list(together)))
            together.clear()
            written[:] = False

    for step in steps:
        if not isinstance(step, Group):
            end()
            result.append(step)
            continue
        own = _kind(step)
        if own != kind or any(written[touched].any() for touched in _touched(step)):
            end()
        kind = own
        together.append(step)
        written[step.places] = True
        if step.records is not None:
            written[step.records] = True
        if step.report is not None:
            end()
    end()
    return result


def _kind(group: Group) -> tuple:
    """Return what groups must have in common to be run together."""
    base = group.accumulators.min()
    return (tuple(group.form.items()), group.seed, group.places.shape,
            group.operands is None, group.masks is None, group.ends.tobytes(),
            (group.accumulators - base).tobytes(),
            *((p.outer, p.vectors.shape, p.tiles.shape, (p.sums - base).tobytes(),
               p.replaces.tobytes())
              for p in group.passes))


def _touched(group: Group) -> Iterable[np.ndarray]:
    """Yield the addresses of all elements that a group reads or writes."""
    columns = group.places.shape[1]
    for passes in group.passes:
        yield passes.vectors
        yield passes.tiles[..., :columns]
    for addresses in (group.operands, group.masks, group.places, group.records):
        if addresses is not None:
            yield addresses
