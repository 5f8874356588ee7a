"""POST: parameters, groups, steps and results."""

from collections import deque

from systolith.hw.config import Config
from systolith.hw.latency import (
    RESIDUAL_CYCLES,
    RESIDUAL_LATENCY,
    claim_latency,
    post_latency,
    post_read_latency,
    take_latency,
)
from systolith.sw.timing.parts import Descriptor

__all__ = ["Post"]


class Post:
    """The POST engine (``hw/post.py``, ``hw/parameters.py``)."""

    def __init__(self, config: Config):
        self.config = config
        self.descriptor = Descriptor(config.prefetch_descriptors)
        self.state, self.start_in = "IDLE", 0
        self.full = [False, False]
        self.store = self.phase = self.outstanding = 0
        self.asked = self.got = self.index = self.param_word = 0
        self.nest = None
        self.params_arriving, self.results, self.writes = deque(), deque(), deque()

    @property
    def idle(self) -> bool:
        """Nothing is pending or running."""
        return self.state == "IDLE" and not self.descriptor.pending

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        if self.state == "GROUP":
            if self.nest.reload and not self.nest.fill and self.asked != self.config.param_words:
                return 1 << self.param_word // self.config.bank_words
        elif self.state == "RUN" and self.nest.residual and self.phase == 0:
            return self.nest.masks[self.index]
        return None

    def writing(self, cycle: int) -> int:
        """Return the bank a result is being written to (single-ported banks)."""
        while self.writes and self.writes[0][0] < cycle:
            self.writes.popleft()
        return self.writes[0][1] if self.writes and self.writes[0][0] == cycle else 0

    def step(self, cycle, granted, filled, go, completed):
        """Advance a cycle; returns (nest finished, released store or None)."""
        nest, state = self.nest, self.state
        fetching = state == "GROUP" and nest.reload and not nest.fill
        released, finished, take = None, False, False
        full_now = self.full[self.store]
        outstanding = self.outstanding
        if self.results and self.results[0] == cycle:
            self.results.popleft()
            self.outstanding -= 1
        if state == "IDLE":
            if self.descriptor.pending and self.descriptor.satisfied:
                take = True
                self.state, self.start_in = "TAKEN", take_latency(self.config)
        elif state == "TAKEN" and self.start_in > 1:
            self.start_in -= 1
        elif state == "TAKEN":
            self.index, self.param_word = 0, nest.param_word
            self.state = "GROUP"
        elif state == "GROUP":
            if nest.fill or full_now and (not nest.reload
                                          or self.got == self.config.param_words):
                self.state = "RUN"
        elif state == "RUN":
            if granted if nest.residual else True:
                released = self._accept(cycle, nest)
        elif outstanding == 0:
            finished, self.state = True, "IDLE"
            nest.timing.finished = cycle

        if not fetching:
            self.asked = self.got = 0
        else:
            if self.params_arriving and self.params_arriving[0] == cycle:
                self.params_arriving.popleft()
                self.got += 1
            if granted:
                self.params_arriving.append(cycle + post_read_latency(self.config))
                self.asked += 1
                self.param_word += 1
        adding = nest is not None and nest.residual and state != "TAKEN"
        self.phase = (self.phase + 1) % RESIDUAL_CYCLES if adding else 0
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
        if nest.pool_end[self.index]:
            latency = RESIDUAL_LATENCY if nest.residual else post_latency(self.config)
            self.results.append(cycle + latency)
            self.outstanding += 1
            if nest.write_masks is not None:
                self.writes.append((cycle + latency + claim_latency(self.config),
                                    nest.write_masks[self.index]))
        if nest.group_end[self.index]:
            released, self.store = self.store, 1 - self.store
            self.state = "GROUP"
        self.index += 1
        if self.index == nest.count:
            self.state = "FLUSH"
        return released
