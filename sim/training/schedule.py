"""What a job of a training device does, in order: groups of sums and fills, all addresses known.

Nothing here looks at data, so a program is worked out once however often it runs.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from systolith.hw.isa import Engine, LoadKind
from systolith.sim.machine import Machine, MachineJob
from systolith.sw.program_view import IllegalInstruction, Instruction, NestView
from systolith.sw.train import numerics

__all__ = ["Fill", "Group", "Losses", "Passes", "Schedule"]


@dataclass(slots=True)
class Passes:
    """Passes of one nest within one group.

    Attributes
    ----------
    vectors : int64[passes, vectors, rows]
        Address of every element that is streamed.
    tiles : int64[passes, rows, columns]
        Of every element they are multiplied by; of outer products ``[passes, vectors, columns]``.
    sums : int64[passes, vectors or rows]
        Accumulators they go to.
    replaces : bool[passes]
        They replace what is there, else they are added.
    outer : bool
        They are outer products.
    """

    vectors: np.ndarray
    tiles: np.ndarray
    sums: np.ndarray
    replaces: np.ndarray
    outer: bool


@dataclass(slots=True)
class Group:
    """Passes that add up, and what becomes of their sums.

    Attributes
    ----------
    form : mapping
        Fields of the register ROUNDING.
    accumulators : int64[steps]
        The sum each step reads.
    ends : bool[steps]
        A pooling window ends.
    places, operands, masks, records : int64[steps, written columns] or None
        Addresses of results, operands, masks and records.
    report : int or None
        Where the range is written afterwards.
    seed : int or None
        The word of the program that has the seed.
    """

    form: Mapping[str, int]
    accumulators: np.ndarray
    ends: np.ndarray
    places: np.ndarray
    operands: np.ndarray | None
    masks: np.ndarray | None
    records: np.ndarray | None
    report: int | None
    seed: int | None
    passes: list[Passes] = field(default_factory=list)


@dataclass(slots=True)
class Fill:
    """Zeros at some addresses."""

    places: np.ndarray

    def run(self, memory: np.ndarray) -> None:
        """Do it."""
        memory[self.places] = 0


@dataclass(slots=True)
class Losses:
    """Samples that go through the loss unit.

    Attributes
    ----------
    exponent : int
        Of the logits, 5 at most.
    logits, gradients : int64[samples, classes]
        Addresses.
    labels : int64[samples]
    results : int64[samples, RESULT_ELEMENTS]
    """

    exponent: int
    logits: np.ndarray
    gradients: np.ndarray
    labels: np.ndarray
    results: np.ndarray

    def run(self, memory: np.ndarray) -> None:
        """Do it.

        Raises
        ------
        IllegalInstruction
            If a label is none of the classes.
        """
        logits, labels = memory[self.logits], memory[self.labels]
        if labels.min() < 0 or labels.max() >= logits.shape[1]:
            raise IllegalInstruction(f"a label is outside 0..{logits.shape[1] - 1}")
        found = numerics.cross_entropy(logits, self.exponent, labels)
        memory[self.gradients], memory[self.results] = found.gradient, found.results()


class Schedule(MachineJob):
    """Goes through a program as the engines do and notes what they would do, in POST's order.

    What LOAD and STREAM read they read, here, when POST drains the group. A program cannot tell:
    it may not change what a group reads before that group is drained.

    Attributes
    ----------
    steps : list of Group, Fill or Losses
    """

    def __init__(self, machine: Machine, program: list[Instruction], seeds: Sequence[int | None]):
        super().__init__(machine, program)
        #: Of each of POST's nests the word of the program that has its seed.
        self.seeds = seeds
        self.steps: list[Group | Fill | Losses] = []
        self.operands: deque[np.ndarray] = deque()
        #: Sums of the open group; others hold what some group left there.
        self.written = np.zeros(self.config.accumulator_depth, bool)
        #: An element that is zero: no address reaches the last of those beyond the memory.
        self.zero = self.memory.shape[1] - 1

    def _elements(self, addresses: np.ndarray, length: int) -> np.ndarray:
        """Return the addresses of the elements of vectors."""
        return (addresses % self.size)[..., None] + np.arange(length)

    # -- LOAD --------------------------------------------------------------------------------

    def _load(self, nest: NestView) -> bool:
        c, kind = self.config, LoadKind(nest["CONTROL"]["kind"])
        addresses = nest.track(nest["BASE"]["address"], "JUMP")
        if kind is LoadKind.OPERAND:
            self.operands.append(addresses)
            return True
        across, length = ((c.rows, c.columns) if kind is LoadKind.TILE else (c.columns, c.rows))
        if len(addresses) % across:
            raise IllegalInstruction(f"a LOAD of {len(addresses)} vectors is no whole number of "
                                     f"tiles of {across}")
        tiles = self._elements(addresses, length).reshape(-1, across, length)
        self.tiles.extend(tiles if kind is LoadKind.TILE else tiles.transpose(0, 2, 1))
        return True

    # -- STREAM ------------------------------------------------------------------------------

    def _stream(self, nest: NestView) -> bool:
        c, control, outer = self.config, nest["CONTROL"], bool(nest["OPERANDS"]["outer"])
        start, step = nest.levels()
        passes = np.flatnonzero(start >= control["pass_level"])
        size = len(start) // len(passes)
        if (sum(map(len, self.operands)) < len(start) if outer else len(self.tiles) < len(passes)):
            return False
        if outer:
            tiles = self._elements(self._taken(len(start)), c.columns)
            tiles = tiles.reshape(len(passes), size, c.columns)
        else:
            tiles = np.stack([self.tiles.popleft() for _ in passes])
        vectors = self._elements(nest.track(nest["BASE"]["address"], "JUMP"), c.rows)
        self._cut(vectors, nest)
        sums = nest.accumulators().reshape(len(passes), size)
        if outer:
            sums = sums[:, -1:] + np.arange(c.rows)
        opens = start[passes] >= control["group_level"]
        whole = Passes(vectors.reshape(len(passes), size, c.rows), tiles,
                       sums % c.accumulator_depth, (opens | outer) & (not control["keep"]), outer)
        closes = step[passes + size - 1] >= control["group_level"]
        if control["hold"]:
            closes[-1] = False
        self._share_out(whole, closes)
        return True

    def _taken(self, count: int) -> np.ndarray:
        """Return the addresses of the next operands."""
        taken = []
        while count:
            first = self.operands.popleft()
            if len(first) > count:
                self.operands.appendleft(first[count:])
            taken.append(first[:count])
            count -= len(taken[-1])
        return np.concatenate(taken)

    def _cut(self, vectors: np.ndarray, nest: NestView) -> None:
        """Let the elements behind the end of a reduction be zero."""
        level, tail = nest["OPERANDS"]["tail_level"], nest["OPERANDS"]["tail"]
        lasts = nest.lasts
        inner = int(np.prod([n + 1 for n in lasts[:level]]))
        index = np.arange(len(vectors)) // inner % (lasts[level] + 1)
        vectors[index == lasts[level], tail:] = self.zero

    def _share_out(self, whole: Passes, closes: np.ndarray) -> None:
        """Add passes to the open group; those behind its end belong to the next."""
        begin = 0
        for end in sorted({*(np.flatnonzero(closes) + 1).tolist(), len(closes)}):
            if self.open is None:
                self.open = []
                self.written[:] = False
            part = Passes(whole.vectors[begin:end], whole.tiles[begin:end], whole.sums[begin:end],
                          whole.replaces[begin:end], whole.outer)
            for places, replaces in zip(part.sums, part.replaces, strict=True):
                if replaces and len(np.unique(places)) < len(places):
                    raise IllegalInstruction("vectors of a pass that replaces share a sum")
                if not replaces and not self.written[places].all():
                    raise IllegalInstruction("a pass adds to a sum that nothing was written to")
                self.written[places] = True
            self.open.append(part)
            if closes[end - 1]:
                self.groups.append((self.open, self.written.copy()))
                self.open = None
            begin = end

    # -- POST --------------------------------------------------------------------------------

    def _sums(self, group, first):
        return group

    def _group(self, nest, control, sums, accumulators, steps, windows, addresses, residuals,
               last):
        c, form = self.config, nest["ROUNDING"]
        passes, written = sums
        if not written[accumulators].all():
            raise IllegalInstruction("a result is made of a sum that nothing was written to")
        columns = min(control["valid"], c.columns) if last else c.columns
        reads = control["residual"] or form["comparing"]
        masks, records = nest["MASK_DELTA"]["jump"], nest["RECORD_DELTA"]["jump"]
        self.steps.append(Group(
            form, accumulators, windows, self._places(addresses, columns),
            self._elements(residuals, columns) if reads else None,
            self._elements(addresses + masks, columns) if form["masked"] else None,
            self._places(addresses + records, columns) if form["recording"] else None,
            nest["REPORT_BASE"]["address"] if last and form["report"] else None,
            self.seeds[self.done[Engine.POST]], passes))

    def _fill(self, nest: NestView) -> None:
        addresses = nest.track(nest["WRITE_BASE"]["address"], "WRITE_JUMP")
        if nest["ROUNDING"]["loss"]:
            self.steps.append(self._losses(nest, addresses))
            return
        self.steps.append(Fill(self._places(
            addresses, min(nest["CONTROL"]["valid"], self.config.columns))))

    def _losses(self, nest: NestView, addresses: np.ndarray) -> Losses:
        ends = np.flatnonzero(nest.levels()[1] >= nest["CONTROL"]["pool_level"])
        logits = nest.track(nest["RESIDUAL_BASE"]["address"], "RESIDUAL_JUMP") % self.size
        first = nest["WRITE_BASE"]["address"] + nest["RECORD_DELTA"]["jump"]
        gradients = (first + np.arange(len(logits))) % self.size
        shape = len(ends), -1
        return Losses(
            numerics.COARSEST - nest["ROUNDING"]["right"], logits.reshape(shape),
            gradients.reshape(shape), (addresses[ends] + nest["MASK_DELTA"]["jump"]) % self.size,
            self._places(addresses[ends], nest["CONTROL"]["valid"]))

    def _places(self, addresses: np.ndarray, columns: int) -> np.ndarray:
        """Return the addresses of elements that are written: they begin anew behind the last."""
        return (addresses[:, None] + np.arange(columns)) % self.size
