"""LOAD and STREAM, and the array's entrance."""

from collections import deque

from systolith.hw.config import Config
from systolith.hw.latency import (
    WINDOW_LATENCY,
    accumulate_cycles,
    aligned_latency,
    fill_latency,
    vector_latency,
)
from systolith.sw.timing.parts import Descriptor, FetchQueue

__all__ = ["Load", "Stream"]


class Walker:
    """Take, start, walk: the part LOAD and STREAM share."""

    def __init__(self, config: Config, depth: int, latency: int):
        self.descriptor = Descriptor(config.prefetch_descriptors)
        self.fetch = FetchQueue(depth, latency)
        self.starting = self.valid = False
        self.nest = None
        self.index = 0
        #: Requests go to memory as they are, not by way of a register.
        self.direct = config.shallow
        #: Banks of the registered request, if there is one.
        self.waiting = None

    @property
    def walking(self) -> bool:
        """A nest is starting or under way."""
        return self.starting or self.valid

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        if self.direct:
            asking = self.valid and self.fetch.credits > 0
            return self.nest.masks[self.index] if asking else None
        return self.waiting

    def accepts(self, granted: bool) -> bool:
        """Return whether the walker's address becomes the request of the next cycle.

        Without registered requests: whether it is granted.
        """
        if self.direct:
            return granted
        return self.valid and self.fetch.credits > 0 and (self.waiting is None or granted)

    def clock(self, cycle, granted, take_data, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        take = self.descriptor.pending and self.descriptor.satisfied and not self.walking
        accepted = self.accepts(granted)
        finished = accepted and self.index == self.nest.count - 1
        if accepted:
            self.waiting = self.nest.masks[self.index]
        elif granted:
            self.waiting = None
        self.fetch.clock(cycle, accepted, granted, take_data)
        if self.starting:
            self.valid, self.index = True, 0
        elif accepted:
            self.index += 1
            self.valid = not finished
        self.starting = take
        if take:
            self.nest = self.descriptor.nest
            self.nest.timing.started = cycle
        if finished:
            self.nest.timing.finished = cycle
        self.descriptor.clock(take, go, completed)
        return finished


class Load(Walker):
    """The LOAD engine and the tile loader (``hw/load.py``)."""

    def __init__(self, config: Config):
        super().__init__(config, config.load_fifo_depth, aligned_latency(config))
        self.words = config.load_words
        #: The word of a tile with which vectors may claim it.
        self.claimable = self.words - 1 if config.shallow else 0
        self.index_in_tile, self.full = 0, False

    def step(self, cycle, granted, swap, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        burst = self.index_in_tile != 0 or (self.fetch.level >= self.words and not self.full)
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
        super().__init__(config, config.fifo_depth, vector_latency(config))
        self.queue = deque()
        self.open, self.store = False, 0
        self.owned = [False, False]
        adding = accumulate_cycles(config) - 1
        self.recent = deque([None] * adding, adding)
        # the window unit: (tag, store) of its pixels, the tile they have a claim on
        self.window = deque([None] * WINDOW_LATENCY, WINDOW_LATENCY)
        self.claimed = self.owes = False
        self.filled = deque()
        self.entries = 0
        self.fill_latency = fill_latency(config)

    @property
    def held(self) -> bool:
        """Pixels are in the window unit."""
        return any(self.window)

    def leaves(self, tile_ready: bool):
        """Return the tag of the vector that leaves the FIFO in this cycle, or None."""
        if not self.fetch.ready:
            return None
        swap, clear, first, _, address, pixel = tag = self.queue[0]
        if swap and not tile_ready or first and not self.open and self.owned[self.store]:
            return None
        if pixel is None:
            waits = self.held or not clear and address in self.recent
        else:
            waits = swap and self.claimed or self.held and (pixel[1] or swap and not clear)
        return None if waits else tag

    def enters(self, tag):
        """Return (valid, swap, end, address, store) of what enters the array, or None.

        It is the vector that leaves the FIFO, or the pixel at the end of the window unit.
        """
        if tag is not None and tag[5] is None:
            return True, tag[0], tag[3], tag[4], self.store
        if self.window[0] is None:
            return None
        (swap, _, _, last, address, (complete, _)), store = self.window[0]
        self.owes |= swap
        swap, self.owes = self.owes and complete, self.owes and not complete
        return complete, swap, last, address, store

    def step(self, cycle, granted, tag, entry, released, go, completed) -> bool:
        """Advance a cycle; returns whether a nest has finished."""
        if self.accepts(granted):
            self.queue.append(self.nest.tags[self.index])
        store, pixel = self.store, None
        if tag is not None:
            self.queue.popleft()
            pixel = None if tag[5] is None else (tag, store)
            if tag[2]:
                self.open = True
            if tag[3]:
                self.open, self.store = False, 1 - store
        self.window.append(pixel)
        for s in range(2):
            if tag is not None and tag[2] and store == s:
                self.owned[s] = True
            elif released == s:
                self.owned[s] = False
        self._enter(cycle, entry)
        if pixel is not None and tag[0]:
            self.claimed = True
        return self.clock(cycle, granted, tag is not None, go, completed)

    def _enter(self, cycle, entry):
        valid, swap, end, address, store = entry or (False, False, False, None, None)
        self.entries += valid
        if end:
            self.filled.append((cycle + self.fill_latency, store))
        self.recent.append(address if valid else None)
        if swap:
            self.claimed = False
