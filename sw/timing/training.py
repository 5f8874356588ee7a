"""The engines of a training device, where they differ."""

from collections import deque

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Engine, LoadKind, Rounding, encode
from systolith.hw.latency import (
    DRAIN_LATENCY,
    FLUSH_CYCLES,
    post_read_latency,
    take_latency,
)
from systolith.sw.program_view import instructions, setting_words
from systolith.sw.timing.engines import Load, Stream
from systolith.sw.timing.parts import Descriptor

__all__ = ["TrainingLoad", "TrainingPost", "TrainingStream", "timed_form"]

#: Bits of a setting that no cycle depends on.
_NUMBERS = {"SEED": 0xFFFFFFFF,
            "ROUNDING": encode(Rounding, left=31, right=31)}


def timed_form(words: np.ndarray) -> np.ndarray:
    """Return a training program without its seeds and shifts: what its cycles follow from.

    Raises
    ------
    IllegalInstruction
        If the words are no program.
    """
    program, form = instructions(words, training=True), words.copy()
    for register, mask in _NUMBERS.items():
        places = setting_words(words, program, Engine.POST, register)
        form[sorted({*places} - {None})] &= np.uint32(~mask & 0xFFFFFFFF)
    return form


class TrainingLoad(Load):
    """LOAD with tiles of rows and of columns, and operands between them."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.rows = config.rows
        #: Words of a tile by its kind.
        self.sizes = {LoadKind.TILE: config.rows, LoadKind.TRANSPOSED: config.columns}
        self.kinds: deque[LoadKind] = deque()
        #: The first cycle in which a tile of rows may begin.
        self.quiet_until = 0

    @property
    def operand_ready(self) -> bool:
        """The oldest word is an operand."""
        return self.fetch.ready and self.kinds[0] is LoadKind.OPERAND

    def step(self, cycle, granted, swap, tag, go, completed) -> bool:
        """Advance a cycle, in which a vector may leave STREAM; whether a nest has finished."""
        size = self.sizes.get(self.kinds[0]) if self.fetch.ready else None
        enough = (size is not None and self.fetch.level >= size
                  and (self.kinds[0] is LoadKind.TRANSPOSED or cycle >= self.quiet_until))
        burst = self.index_in_tile != 0 or (enough and not self.full)
        if burst and self.index_in_tile == 0:
            self.full = True
        elif swap:
            self.full = False
        if burst:
            self.index_in_tile = (self.index_in_tile + 1) % size
            if self.index_in_tile == 0 and self.kinds[0] is LoadKind.TRANSPOSED:
                self.quiet_until = cycle + 1 + self.rows - size
        take = burst or tag is not None and tag.outer
        if self.accepts(granted):
            self.kinds.append(self.nest.kind)
        if take:
            self.kinds.popleft()
        return self.clock(cycle, granted, take, go, completed)


class TrainingStream(Stream):
    """STREAM with outer products, and what drains them (``hw/drain.py``)."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.rows = config.rows
        #: Cycles still to come, whether the group ends with the last entry, its store.
        self.draining, self.drained = 0, (False, 0)
        #: The cycle before, another vector went into the array.
        self.behind = False

    @property
    def held(self) -> bool:
        """Sums are being drained."""
        return self.draining > 0

    def leaves(self, load):
        """Return the vector that leaves the FIFO in this cycle, or None."""
        tag = super().leaves(load)
        return None if tag is not None and tag.outer and self.behind else tag

    def matched(self, tag, load) -> bool:
        """Return whether LOAD has delivered what a vector needs."""
        return load.operand_ready if tag.outer else super().matched(tag, load)

    def enters(self, tag):
        """Return (valid, swap, end, store) of what enters the array, or None."""
        if self.draining:
            end, store = self.drained
            return self.draining > 1, False, end and self.draining == 2, store
        if tag is not None and tag.outer:
            return tag.ends, False, False, self.store
        return None if tag is None else super().enters(tag)

    def step(self, cycle, granted, tag, released, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        if tag is not None and tag.outer and tag.ends:
            self.draining, self.drained = self.rows, (tag.last, self.store)
        elif self.draining:
            self.draining -= 1
        self.behind = tag is not None and not tag.outer
        return super().step(cycle, granted, tag, released, go, completed)

    def _tagged(self, tag):
        tag, distance = super()._tagged(tag)
        return tag, 0 if tag.outer else distance


class TrainingPost:
    """The POST engine of a training device (``hw/training_post.py``)."""

    def __init__(self, config: Config):
        self.descriptor = Descriptor(config.prefetch_descriptors)
        self.take_latency, self.age = take_latency(config), post_read_latency(config) + 1
        self.state, self.start_in = "IDLE", 0
        self.full = [False, False]
        self.store = self.index = self.read = self.outstanding = self.flushing = 0
        self.paused = False
        self.nest = None
        self.results: deque[int] = deque()
        reading = self.age - DRAIN_LATENCY
        self.released = deque([None] * reading, reading)

    @property
    def idle(self) -> bool:
        """Nothing is pending or running."""
        return self.state == "IDLE" and not self.descriptor.pending

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        if self.state != "RUN" or self.paused or not self.nest.reads:
            return None
        return self.nest.reads[self.read][self.index]

    def step(self, cycle, granted, filled, go, completed):
        """Advance a cycle; returns (nest finished, released store or None)."""
        nest, state, outstanding = self.nest, self.state, self.outstanding
        released, finished, take = None, False, False
        paused, self.paused = self.paused, False
        if self.results and self.results[0] == cycle:
            self.results.popleft()
            self.outstanding -= 1
        elif paused:
            self.paused = nest.loss
        if state == "IDLE":
            take = self.descriptor.pending and self.descriptor.satisfied
            if take:
                self.state, self.start_in = "TAKEN", self.take_latency
        elif state == "TAKEN":
            self.start_in -= 1
            if self.start_in == 0:
                self.index, self.state = 0, "GROUP"
        elif state == "GROUP":
            if nest.fill or self.full[self.store]:
                self.state = "RUN"
        elif state == "RUN":
            released = None if paused else self._run(cycle, nest, granted)
        elif state == "FLUSH":
            if self.flushing == 0:
                self.state = "REPORT"
            elif outstanding == 0:
                self.flushing -= 1
        elif state == "REPORT":
            self.state = "END"
        else:
            finished, self.state = True, "IDLE"
            nest.timing.finished = cycle

        if released is not None:
            self.full[released] = False
        if filled is not None:
            self.full[filled] = True
        if take:
            self.nest = self.descriptor.nest
            self.nest.timing.started = cycle
        self.descriptor.clock(take, go, completed)
        given_back = self.released[0]
        self.released.append(released)
        return finished, given_back

    def _run(self, cycle, nest, granted):
        """Read for a step, or accept it; return the store of a group that ends."""
        if nest.reads:
            if not granted:
                return None
            self.read = (self.read + 1) % len(nest.reads)
            if self.read != 0:
                return None
        index, released = self.index, None
        if nest.written[index]:
            self.results.append(cycle + self.age + nest.delay)
            self.outstanding += 1
        self.paused = nest.paused[index]
        if nest.group_end[index]:
            released, self.store = self.store, 1 - self.store
            self.state = "GROUP"
        self.index += 1
        if self.index == nest.count:
            self.state, self.flushing = "FLUSH", FLUSH_CYCLES
        return released
