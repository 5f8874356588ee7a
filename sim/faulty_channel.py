"""A byte pipe that flips bits, drops, repeats and delays frames: reproducible bad luck."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from systolith.sw.transport import Transport

__all__ = ["FaultyChannel", "Odds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """Probabilities of each mishap, per frame and direction."""

    flip: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0


class FaultyChannel(Transport):
    """A device behind a bad line, in virtual time.

    Parameters
    ----------
    device : Callable
        Takes bytes from the host, returns what the device sends back.
    odds : Odds
        How bad the line is.
    seed : int
        Decides every mishap.

    Attributes
    ----------
    frames, flipped, dropped, duplicated, delayed : int
        What happened so far, both directions together.
    """

    #: Virtual seconds a frame takes, and the longest a delayed one takes.
    LATENCY, LONGEST = 0.001, 0.6

    def __init__(self, device: Callable[[bytes], bytes], odds: Odds, seed: int) -> None:
        self.name = "faulty channel"
        self._device = device
        self._odds = odds
        self._random = random.Random(seed)
        self._now = 0.0
        self._order = itertools.count()
        self._under_way: list[tuple[float, int, bool, bytes]] = []
        self.frames = self.flipped = self.dropped = self.duplicated = self.delayed = 0

    def clock(self) -> float:
        """Return virtual seconds."""
        return self._now

    def write(self, data: bytes) -> None:
        """Send one frame to the device."""
        self._carry(data, to_device=True)

    def read(self, limit: int, timeout: float) -> bytes:
        """Let time pass until something reaches the host, or the timeout."""
        deadline = self._now + timeout
        while self._under_way and self._under_way[0][0] <= deadline:
            self._now, _, to_device, data = heapq.heappop(self._under_way)
            if not to_device:
                return data
            answer = self._device(data)
            if answer:
                self._carry(answer, to_device=False)
        self._now = deadline
        return b""

    def close(self) -> None:
        """Do nothing."""

    def _happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def _carry(self, data: bytes, *, to_device: bool) -> None:
        self.frames += 1
        if self._happens(self._odds.drop):
            self.dropped += 1
            return
        copies = 1
        if self._happens(self._odds.duplicate):
            self.duplicated += 1
            copies = 2
        for _ in range(copies):
            due = self._now + self.LATENCY
            if self._happens(self._odds.delay):
                self.delayed += 1
                due += self._random.random() * self.LONGEST
            heapq.heappush(self._under_way,
                           (due, next(self._order), to_device, self._damage(data)))

    def _damage(self, data: bytes) -> bytes:
        if not self._happens(self._odds.flip):
            return data
        self.flipped += 1
        damaged = bytearray(data)
        for _ in range(self._random.randint(1, 4)):
            bit = self._random.randrange(8 * len(damaged))
            damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)
