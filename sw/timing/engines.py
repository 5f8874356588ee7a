"""LOAD and STREAM, and the array's entrance."""

from collections import deque

from systolith.hw.config import Config
from systolith.hw.latency import (
    WINDOW_LATENCY,
    accumulate_cycles,
    claimable_word,
    fill_latency,
    read_latency,
    take_latency,
)
from systolith.sw.timing.parts import (
    Descriptor,
    FetchQueue,
    NestWalker,
    RequestQueue,
)

__all__ = ["Load", "Stream"]


class Walker:
    """Take, start, walk: the part LOAD and STREAM share."""

    def __init__(self, config: Config, depth: int, *, vector: bool):
        self.descriptor = Descriptor(config.prefetch_descriptors)
        self.fetch = FetchQueue(depth, read_latency(config, vector=vector))
        self.loops = NestWalker()
        self.requests = RequestQueue()
        # cycles until the nest that was taken starts, and one; 0: it did
        self.start_in, self.take_latency = 0, take_latency(config)
        self.nest = None

    @property
    def walking(self) -> bool:
        """A nest is starting or under way."""
        return self.start_in > 0 or self.loops.coming or self.loops.valid

    def request(self, tile_ready: bool = False) -> int | None:
        """Return the banks wanted in this cycle, or None: before the FIFO no tile matters."""
        return self.requests.request(self._asked())

    def accepts(self, granted: bool) -> bool:
        """Return whether the walker's address is taken as a request."""
        return self.requests.accepts(self._asked(), granted)

    def _asked(self):
        asking = self.loops.valid and self.fetch.credits > 0
        return self.nest.masks[self.loops.index] if asking else None

    def clock(self, cycle, granted, take_data, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        loops, accepted = self.loops, self.accepts(granted)
        take = (self.descriptor.pending and self.descriptor.satisfied
                and not (self.start_in or loops.coming or loops.valid and not accepted))
        finished = accepted and loops.index == self.nest.count - 1
        self.requests.clock(self._asked(), granted)
        self.fetch.clock(cycle, accepted, granted, take_data)
        if finished:
            self.nest.timing.finished = cycle
        if self.nest is not None:
            loops.clock(self.start_in == 1, accepted, self.nest.count)
        self.start_in = self.take_latency if take else max(self.start_in - 1, 0)
        if take:
            self.nest = self.descriptor.nest
            self.nest.timing.started = cycle
        self.descriptor.clock(take, go, completed)
        return finished


class Load(Walker):
    """The LOAD engine and the tile loader (``hw/load.py``)."""

    def __init__(self, config: Config):
        super().__init__(config, config.load_fifo_depth, vector=config.training)
        self.words, self.claimable = config.load_words, claimable_word(config)
        self.index_in_tile, self.full, self.enough = 0, False, False

    @property
    def idle(self) -> bool:
        """Nothing is pending or under way."""
        return not (self.walking or self.descriptor.pending)

    def step(self, cycle, granted, swap, tag, go, completed) -> bool:
        """Advance a cycle, in which a vector may leave STREAM; whether a nest has finished."""
        burst = self.index_in_tile != 0 or (self.enough and not self.full)
        self.enough = self.fetch.level >= self.words + burst
        if burst and self.index_in_tile == self.claimable:
            self.full = True
        elif swap:
            self.full = False
        if burst:
            self.index_in_tile = (self.index_in_tile + 1) % self.words
        return self.clock(cycle, granted, burst, go, completed)


class Stream(Walker):
    """The STREAM engine and the array's entrance (``hw/stream.py``)."""

    def __init__(self, config: Config):
        super().__init__(config, config.fifo_depth, vector=True)
        self.queue = deque()
        self.open, self.store = False, 0
        self.owned = [False, False]
        # accumulators of the last vectors requested (None: of a window), cycles with an entry
        adding = accumulate_cycles(config) - 1
        self.before = deque(maxlen=adding)
        self.recent = deque([False] * adding, adding)
        # the window unit: (tag, store) of its pixels, the tile they have a claim on
        self.window = deque([None] * WINDOW_LATENCY, WINDOW_LATENCY)
        self.claimed = self.owes = False
        self.filled = deque()
        self.entry = None
        self.entries = 0
        self.fill_latency = fill_latency(config)

    @property
    def idle(self) -> bool:
        """Nothing is pending, under way, in the FIFO or in the window unit."""
        return not (self.walking or self.descriptor.pending or self.fetch.ready or self.held)

    @property
    def held(self) -> bool:
        """Pixels are in the window unit."""
        return any(self.window)

    def admit(self, load, granted):
        """Return the :class:`Vector` that leaves the FIFO or None; whether a tile is claimed."""
        tag = self.leaves(load)
        self.entry = self.enters(tag)
        return tag, self.entry is not None and self.entry[1]

    def leaves(self, load):
        """Return the :class:`Vector` that leaves the FIFO in this cycle, or None."""
        if not self.fetch.ready:
            return None
        tag, distance = self.queue[0]
        if (not self.matched(tag, load)
                or tag.first and not self.open and self.owned[self.store]):
            return None
        if tag.pixel is None:
            waits = self.held or not tag.clear and 0 < distance <= sum(self.recent)
        else:
            waits = (tag.swap and self.claimed
                     or self.held and (tag.pixel[1] or tag.swap and not tag.clear))
        return None if waits else tag

    def matched(self, tag, load) -> bool:
        """Return whether LOAD has delivered what a vector needs."""
        return not tag.swap or load.full

    def enters(self, tag):
        """Return (valid, swap, end, store) of what enters the array, or None.

        It is the vector that leaves the FIFO, or the pixel at the end of the window unit.
        """
        if tag is not None and tag.pixel is None:
            return True, tag.swap, tag.last, self.store
        if self.window[0] is None:
            return None
        pixel, store = self.window[0]
        complete = pixel.pixel[0]
        self.owes |= pixel.swap
        swap, self.owes = self.owes and complete, self.owes and not complete
        return complete, swap, pixel.last, store

    def step(self, cycle, granted, tag, released, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        if self.accepts(granted):
            self.queue.append(self._tagged(self.nest.tags[self.loops.index]))
        store, pixel = self.store, None
        if tag is not None:
            self.queue.popleft()
            pixel = None if tag.pixel is None else (tag, store)
            if tag.first:
                self.open = True
            if tag.last:
                self.open, self.store = False, 1 - store
        self.window.append(pixel)
        for s in range(2):
            if tag is not None and tag.first and store == s:
                self.owned[s] = True
            elif released == s:
                self.owned[s] = False
        self._enter(cycle, self.entry)
        if pixel is not None and tag.swap:
            self.claimed = True
        return self.clock(cycle, granted, tag is not None, go, completed)

    def _tagged(self, tag):
        """Return the tag and how close before an addition to the same accumulator may be."""
        distance = next((i for i, other in enumerate(reversed(self.before), 1)
                         if other is None or other == tag.address), 0)
        self.before.append(tag.address if tag.pixel is None else None)
        return tag, distance

    def _enter(self, cycle, entry):
        valid, swap, end, store = entry or (False, False, False, None)
        self.entries += valid
        if end:
            self.filled.append((cycle + self.fill_latency, store))
        self.recent.append(valid)
        if swap:
            self.claimed = False
