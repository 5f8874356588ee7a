"""The engines of shallow pipelines: nothing waits between memory and array."""

from collections import deque

from systolith.hw.config import Config
from systolith.hw.latency import (
    SETTLE_CYCLES,
    STEP_CYCLES,
    claim_latency,
    fill_latency,
    post_latency,
)
from systolith.sw.timing.parts import Descriptor, MemoryNest

__all__ = ["ShallowLoad", "ShallowPost", "ShallowStream"]


class Walker:
    """Take, start, walk a nest whose every step is a granted read."""

    def __init__(self):
        self.descriptor = Descriptor(prefetch=False)
        self.loops = MemoryNest()
        self.starting = False
        self.nest = None

    @property
    def walking(self) -> bool:
        """A nest is starting or under way."""
        return self.starting or self.loops.valid

    def clock(self, cycle, granted, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        loops, descriptor = self.loops, self.descriptor
        take = descriptor.pending and descriptor.satisfied and not self.walking
        finished = granted and loops.index == self.nest.count - 1
        if finished:
            self.nest.timing.finished = cycle
        if self.nest is not None:
            loops.clock(self.starting, granted, self.nest.count)
        self.starting = take
        if take:
            self.nest = descriptor.nest
            self.nest.timing.started = cycle
        descriptor.clock(take, go, completed)
        return finished


class ShallowLoad(Walker):
    """The LOAD engine (``hw/shallow_load.py``)."""

    def __init__(self, config: Config):
        super().__init__()
        self.words, self.asked, self.full = config.load_words, 0, False

    @property
    def idle(self) -> bool:
        """Nothing is pending or under way."""
        return not (self.walking or self.descriptor.pending)

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        return self.nest.masks[self.loops.index] if self.loops.valid and not self.full else None

    def step(self, cycle, granted, swap, _, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        if granted:
            self.asked = (self.asked + 1) % self.words
        if granted and self.asked == 0:
            self.full = True
        elif swap:
            self.full = False
        return self.clock(cycle, granted, go, completed)


class ShallowStream(Walker):
    """The STREAM engine (``hw/shallow_stream.py``)."""

    def __init__(self, config: Config):
        super().__init__()
        self.open, self.store = False, 0
        self.owned = [False, False]
        #: Accumulator of the vector that enters in this cycle, or None.
        self.entering = None
        self.filled = deque()
        self.entries = 0
        self.fill_latency = fill_latency(config)

    @property
    def idle(self) -> bool:
        """Nothing is pending, under way or entering."""
        return not (self.walking or self.descriptor.pending or self.entering is not None)

    def request(self, tile_ready: bool) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        if not self.loops.valid:
            return None
        tag = self.nest.tags[self.loops.index]
        waits = (tag.swap and not tile_ready
                 or tag.address == self.entering and not tag.clear
                 or tag.first and not self.open and self.owned[self.store])
        return None if waits else self.nest.masks[self.loops.index]

    def admit(self, _, granted):
        """Return the :class:`Vector` that is read or None; whether it claims the tile."""
        tag = self.nest.tags[self.loops.index] if granted else None
        return tag, granted and tag.swap

    def step(self, cycle, granted, tag, released, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        store, first = self.store, False
        self.entering = None
        if granted:
            first, self.entering = tag.first, tag.address
            self.entries += 1
            self.open = (self.open or first) and not tag.last
            if tag.last:
                self.filled.append((cycle + 1 + self.fill_latency, store))
                self.store = 1 - store
        for s in range(2):
            if first and store == s:
                self.owned[s] = True
            elif released == s:
                self.owned[s] = False
        return self.clock(cycle, granted, go, completed)


class ShallowPost:
    """The POST engine (``hw/shallow_post.py``)."""

    def __init__(self, config: Config):
        self.config = config
        self.descriptor = Descriptor(prefetch=False)
        self.state = "IDLE"
        self.full = [False, False]
        self.store = self.column = self.index = 0
        self.param_word = self.asked = self.settling = self.turn = 0
        self.nest = None
        self.writes = deque()

    @property
    def idle(self) -> bool:
        """Nothing is pending or running."""
        return self.state == "IDLE" and not self.descriptor.pending

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        return 1 << self.param_word // self.config.bank_words if self.state == "FETCH" else None

    def writing(self, cycle: int) -> int:
        """Return the bank a result is being written to (single-ported banks)."""
        while self.writes and self.writes[0][0] < cycle:
            self.writes.popleft()
        return self.writes[0][1] if self.writes and self.writes[0][0] == cycle else 0

    def step(self, cycle, granted, filled, go, completed):
        """Advance a cycle; returns (nest finished, released store or None)."""
        nest, state, settling = self.nest, self.state, self.settling
        released, finished, take = None, False, False
        there = nest is not None and (nest.fill or self.full[self.store])
        self.settling, turn, self.turn = max(0, settling - 1), self.turn, max(0, self.turn - 1)
        if state == "IDLE":
            if self.descriptor.pending and self.descriptor.satisfied:
                take, self.state = True, "START"
        elif state == "START":
            self.index, self.param_word = 0, nest.param_word
            self.state = "GROUP"
        elif state == "GROUP":
            if settling == 0 and nest.reload and not nest.fill:
                self.state = "FETCH"
            elif settling == 0 and there:
                self.state = "RUN"
        elif state == "FETCH":
            if granted:
                self.param_word += 1
                self.asked = (self.asked + 1) % self.config.param_words
                if self.asked == 0:
                    self.state = "RUN" if there else "WAIT"
        elif state == "WAIT":
            self.state = "RUN" if there else "WAIT"
        elif state == "RUN":
            if turn == 0:
                released = self._accept(cycle, nest)
        elif settling == 0:
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
        return finished, released

    def _accept(self, cycle, nest):
        released = None
        self.turn = STEP_CYCLES - 1
        if nest.pool_end[self.index] and nest.write_masks is not None:
            self.writes.append((cycle + post_latency(self.config) + claim_latency(self.config),
                                nest.write_masks[self.index]))
        final = self.index == nest.count - 1
        if nest.group_end[self.index]:
            self.column = (self.column + 1) % self.config.columns
            if final or self.column == 0:
                released, self.store, self.column = self.store, 1 - self.store, 0
            self.settling, self.state = SETTLE_CYCLES - 1, "GROUP"
        if final:
            self.settling, self.state = post_latency(self.config), "FLUSH"
        self.index += 1
        return released
