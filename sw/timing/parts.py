"""What the engines are made of: the pending descriptor, and a reader's credits and FIFO."""

from collections import deque

__all__ = ["Descriptor", "FetchQueue", "SharedRead"]


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


class SharedRead:
    """The port of POST and DMA, without DMA (``hw/shared_read.py``)."""

    def __init__(self):
        self.waiting = None

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        return self.waiting

    def clock(self, request: int | None, granted: bool) -> bool:
        """Advance a cycle; returns whether POST's request is taken."""
        free = self.waiting is None or granted
        if free:
            self.waiting = request
        return free and request is not None
