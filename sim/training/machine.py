"""The instruction-level model of a training device: nest by nest, on NumPy memories."""

from collections import deque

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from systolith.hw.isa import LoadKind
from systolith.sim.machine import Machine, MachineJob
from systolith.sw.program_view import IllegalInstruction, NestView
from systolith.sw.train import numerics

__all__ = ["TrainingMachine"]


class TrainingMachine(Machine):
    """A device with ``Config.training``; one memory, images lie in it one after the other."""

    def _job(self, program):
        return _TrainingJob(self, program)


class _TrainingJob(MachineJob):
    """One run: besides tiles there are operands on their way, and a range that grows."""

    def __init__(self, machine: TrainingMachine, program):
        super().__init__(machine, program)
        self.flat = self.memory[0]
        self.vectors = sliding_window_view(self.flat, self.config.lanes)
        self.operands: deque[np.ndarray] = deque()
        self.bits = self.saturated = 0

    def _read(self, addresses: np.ndarray, length: int) -> np.ndarray:
        """Return vectors [n, length]."""
        return self.vectors[addresses % self.size][:, :length]

    # -- LOAD --------------------------------------------------------------------------------

    def _load(self, nest: NestView) -> bool:
        c, kind = self.config, LoadKind(nest["CONTROL"]["kind"])
        addresses = nest.track(nest["BASE"]["address"], "JUMP")
        if kind is LoadKind.OPERAND:
            self.operands.append(self._read(addresses, c.columns))
            return True
        across, length = ((c.rows, c.columns) if kind is LoadKind.TILE else (c.columns, c.rows))
        if len(addresses) % across:
            raise IllegalInstruction(f"a LOAD of {len(addresses)} vectors is no whole number of "
                                     f"tiles of {across}")
        tiles = self._read(addresses, length).reshape(-1, across, length).astype(np.float64)
        self.tiles.extend(tiles if kind is LoadKind.TILE else tiles.transpose(0, 2, 1))
        return True

    # -- STREAM ------------------------------------------------------------------------------

    def _stream(self, nest: NestView) -> bool:
        c, control, form = self.config, nest["CONTROL"], nest["OPERANDS"]
        start, step = nest.levels()
        passes = np.flatnonzero(start >= control["pass_level"])
        size = len(start) // len(passes)
        if form["outer"]:
            if sum(map(len, self.operands)) < len(start):
                return False
            tiles = self._taken(len(start)).reshape(len(passes), size, c.columns)
        else:
            if len(self.tiles) < len(passes):
                return False
            tiles = np.stack([self.tiles.popleft() for _ in passes])
        addresses = nest.track(nest["BASE"]["address"], "JUMP")
        vectors = self._read(addresses, c.rows).reshape(len(passes), size, c.rows)
        vectors = vectors.astype(np.float64)
        self._cut(vectors, nest)
        accumulators = (nest.accumulators() % c.accumulator_depth).reshape(len(passes), size)
        if form["outer"]:
            sums = vectors.transpose(0, 2, 1) @ tiles
            accumulators = (accumulators[:, -1:] + np.arange(c.rows)) % c.accumulator_depth
        else:
            sums = vectors @ tiles
        opens = start[passes] >= control["group_level"]
        closes = step[passes + size - 1] >= control["group_level"]
        if control["hold"]:
            closes[-1] = False
        self._accumulate(sums.astype(np.int64), accumulators, opens, closes, control["keep"])
        return True

    def _taken(self, count: int) -> np.ndarray:
        """Return the next operands."""
        taken = []
        while count:
            first = self.operands.popleft()
            if len(first) > count:
                self.operands.appendleft(first[count:])
            taken.append(first[:count])
            count -= len(taken[-1])
        return np.concatenate(taken).astype(np.float64)

    def _cut(self, vectors: np.ndarray, nest: NestView) -> None:
        """Set the elements behind the end of a reduction to 0."""
        level, tail = nest["OPERANDS"]["tail_level"], nest["OPERANDS"]["tail"]
        if tail >= self.config.rows:
            return
        lasts = nest.lasts
        inner = int(np.prod([n + 1 for n in lasts[:level]]))
        index = np.arange(vectors.shape[0] * vectors.shape[1]) // inner % (lasts[level] + 1)
        flat = vectors.reshape(-1, vectors.shape[2])
        flat[index == lasts[level], tail:] = 0

    def _accumulate(self, sums, accumulators, opens, closes, keep) -> None:
        c = self.config
        clear = False
        for number, (part, places) in enumerate(zip(sums, accumulators, strict=True)):
            if self.open is None:
                self.open = np.zeros((c.accumulator_depth, c.columns), np.int64)
            clear = bool(opens[number]) and not keep
            if len(places) > 1 and len(np.unique(places)) < len(places):
                if clear:
                    raise IllegalInstruction("vectors of a pass that replaces share a sum")
                np.add.at(self.open, places, part)
            elif clear:
                self.open[places] = part
            else:
                self.open[places] += part
            if closes[number]:
                self.groups.append(self.open)
                self.open = None

    # -- POST --------------------------------------------------------------------------------

    def _group(self, nest, control, accumulators, steps, windows, addresses, residuals, last):
        c, form = self.config, nest["ROUNDING"]
        sums = self.groups.popleft()[accumulators]
        lanes = np.arange(c.columns)
        places = (addresses[:, None] + lanes) % self.size
        written = lanes < (control["valid"] if last else c.columns)
        ends = np.flatnonzero(windows)
        begins = np.concatenate(([0], ends[:-1] + 1))
        mask = np.ones(sums.shape, np.int16)
        if form["masked"]:
            delta = nest["MASK_DELTA"]["jump"]
            mask = self._read(addresses + delta, c.columns)
        if form["comparing"]:
            taps = np.arange(len(sums)) - np.repeat(begins, np.diff([*begins, len(sums)]))
            record = self._read(residuals, c.columns)
            mask = np.where(record == taps[:, None], mask, 0)
        elif control["residual"]:
            sums = sums + (self._read(residuals, c.columns).astype(np.int64) << form["left"])
        random = None
        if form["stochastic"]:
            random = numerics.draw(places.astype(np.uint32), nest["SEED"]["word"], form["turn"])
        y, _ = numerics.finish(sums, form["right"], random=random, rectify=bool(form["rectify"]),
                               mask=mask)
        if form["counted"]:
            self._note(sums, form, random, mask, y, written)
        if form["comparing"]:
            self._put(addresses, y, written)
        else:
            self._maxima(nest, form, y, begins, addresses[ends], written)
        if last and form["report"]:
            self._report(nest["REPORT_BASE"]["address"])

    def _maxima(self, nest, form, y, begins, addresses, written) -> None:
        """Write the largest of each window, and the first tap that has it."""
        best = np.maximum.reduceat(y, begins)
        self._put(addresses, best, written)
        if form["recording"]:
            sizes = np.diff([*begins, len(y)])
            taps = np.arange(len(y)) - np.repeat(begins, sizes)
            missing = np.where(y == np.repeat(best, sizes, axis=0), taps[:, None], len(y))
            record = np.minimum.reduceat(missing, begins)
            self._put(addresses + nest["RECORD_DELTA"]["jump"], record, written)

    def _note(self, sums, form, random, mask, y, written) -> None:
        """Add to the range: the OR of magnitudes, and how many left the bounds."""
        y = y[:, written]
        self.bits |= int(np.bitwise_or.reduce(y ^ y >> 15, axis=None)) if y.size else 0
        rounded = numerics.shift(sums, form["right"], random)[:, written]
        beyond = rounded > numerics.HIGH
        if not form["rectify"]:
            beyond |= rounded < numerics.LOW
        self.saturated += int(np.count_nonzero(beyond & (mask[:, written] > 0)))

    def _put(self, addresses, values, written) -> None:
        places = (addresses[:, None] + np.arange(self.config.columns)) % self.size
        self.flat[places[:, written]] = values[:, written]

    def _report(self, address: int) -> None:
        elements = np.array([self.bits, self.saturated & 0xFFFF, self.saturated >> 16])
        self.flat[address:address + len(elements)] = elements.astype(np.uint16).view(np.int16)
        self.bits = self.saturated = 0

    def _fill(self, nest: NestView) -> None:
        addresses = nest.track(nest["WRITE_BASE"]["address"], "WRITE_JUMP")
        lanes = self.config.columns
        self._put(addresses, np.zeros((len(addresses), lanes), np.int16),
                  np.arange(lanes) < nest["CONTROL"]["valid"])
