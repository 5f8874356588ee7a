"""What the engines are made of: the pending descriptor, and a reader's credits and FIFO."""

from collections import deque

from systolith.hw.latency import SHARED_REQUEST

__all__ = [
    "Descriptor", "DirectRequests", "FetchQueue", "MemoryNest", "NestWalker", "RequestQueue",
    "SharedRead",
]


class Descriptor:
    """The pending GO of an engine (``hw/descriptor.py``)."""

    def __init__(self, prefetch: bool):
        self.prefetch = prefetch
        self.pending = self.satisfied = False
        self.nest = None
        self.token = None

    def accepts(self, idle: bool) -> bool:
        """Return whether the sequencer may write and start; ``idle``: the engine is."""
        return not self.pending and (self.prefetch or idle)

    def clock(self, take: bool, go, completed: list[int]) -> None:
        """Advance a cycle; ``go`` is the nest of a GO given in it, or None."""
        token = self.token
        self.satisfied = (self.pending and not take
                          and (token is None or completed[token[0].value] >= token[1]))
        if take:
            self.pending = False
        elif go is not None:
            self.pending, self.nest, self.token = True, go, go.view.token


class FetchQueue:
    """Credits, requests in flight and the FIFO of one reader (``hw/fetch.py``)."""

    def __init__(self, depth: int, latency: int):
        self.credits, self.latency = depth, latency
        self.inner, self.ready = 0, False
        self.arriving = deque()

    @property
    def level(self) -> int:
        """Answers in the FIFO."""
        return self.inner + self.ready

    def clock(self, cycle: int, asked: bool, granted: bool, take: bool) -> None:
        """Advance a cycle: a credit taken, a request granted, an answer removed."""
        arrived = bool(self.arriving) and self.arriving[0] == cycle
        if arrived:
            self.arriving.popleft()
        if granted:
            self.arriving.append(cycle + self.latency)
        self.credits += take - asked
        refill = self.inner > 0 and (not self.ready or take)
        self.ready = refill or (self.ready and not take)
        self.inner += arrived - refill


class NestWalker:
    """Loops that run an iteration ahead of the one shown (``hw/nest.py``)."""

    def __init__(self):
        self.coming = self.valid = False
        self.index = self.next = 0

    def clock(self, starting: bool, stepping: bool, count: int) -> None:
        """Advance a cycle of a nest with ``count`` iterations."""
        if self.coming and (not self.valid or stepping):
            self.valid, self.index = True, self.next
            self.next += 1
            self.coming = self.next < count
        elif stepping:
            self.valid = False
        if starting:
            self.coming, self.next = True, 0


class MemoryNest:
    """Loops that show their first iteration right after the start (``hw/memory_nest.py``)."""

    def __init__(self):
        self.coming = self.valid = False
        self.index = 0

    def clock(self, starting: bool, stepping: bool, count: int) -> None:
        """Advance a cycle of a nest with ``count`` iterations."""
        self.index = 0 if starting else self.index + stepping
        self.valid = starting or self.valid and self.index < count
        self.coming = self.valid and self.index + 1 < count


class RequestQueue:
    """Requests of one reader that wait for memory, two at most (``hw/fetch.py``)."""

    def __init__(self):
        self.waiting = deque()

    def request(self, asked: int | None) -> int | None:
        """Return the banks wanted of memory in this cycle, or None; the reader asks for some."""
        return self.waiting[0] if self.waiting else None

    def accepts(self, asked: int | None, granted: bool) -> bool:
        """Return whether what the reader asks for is taken."""
        return asked is not None and len(self.waiting) < 2

    def clock(self, asked: int | None, granted: bool) -> None:
        """Advance a cycle."""
        accepted = self.accepts(asked, granted)
        if granted:
            self.waiting.popleft()
        if accepted:
            self.waiting.append(asked)


class SharedRead:
    """The port of POST and DMA, without DMA, as ``RequestQueue`` (``hw/shared_read.py``)."""

    def __init__(self):
        self.waiting = deque([None] * SHARED_REQUEST, SHARED_REQUEST)

    def request(self, asked: int | None) -> int | None:
        """Return the banks wanted of memory in this cycle, or None."""
        return self.waiting[0]

    def accepts(self, asked: int | None, granted: bool) -> bool:
        """Return whether what the reader asks for is taken."""
        return asked is not None

    def clock(self, asked: int | None, granted: bool) -> None:
        """Advance a cycle."""
        self.waiting.append(asked)


class DirectRequests:
    """Requests that reach memory as they are, as ``RequestQueue``."""

    def request(self, asked: int | None) -> int | None:
        """Return the banks wanted of memory in this cycle, or None."""
        return asked

    def accepts(self, asked: int | None, granted: bool) -> bool:
        """Return whether what the reader asks for is taken."""
        return granted

    def clock(self, asked: int | None, granted: bool) -> None:
        """Advance a cycle."""
