"""The sequencer, and the clock of the whole."""

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Engine, Op
from systolith.hw.latency import AHEAD, FETCH_LATENCY, shared_cycles
from systolith.sw.program_view import instructions
from systolith.sw.timing.engines import Load, Stream
from systolith.sw.timing.nests import NestRun, NestTiming, Timing
from systolith.sw.timing.parts import DirectRequests, FetchQueue, SharedRead
from systolith.sw.timing.post import Post
from systolith.sw.timing.shallow import ShallowLoad, ShallowPost, ShallowStream
from systolith.sw.timing.training import TrainingLoad, TrainingPost, TrainingStream

__all__ = ["Standstill", "measure"]


class Standstill(RuntimeError):
    """A program that waits for something that never happens; the message names the nests."""


class Sequencer:
    """The sequencer (``hw/sequencer.py``): which word is looked at, and whether it moves on."""

    def __init__(self, config: Config, work: list):
        self.work = work
        self.at, self.left = 0, 0
        #: Words read ahead; without, the word at ``at`` is always there.
        self.fetch = None if config.shallow else FetchQueue(AHEAD, FETCH_LATENCY)

    def step(self, cycle: int, engines, idle: bool):
        """Return (engine of a GO, its nest) or None; ``done`` as the string "done"."""
        if self.fetch is None:
            return self._look(engines, idle)
        place = self.at, self.left
        order = self._look(engines, idle) if self.fetch.ready else None
        asked = self.fetch.credits > 0
        self.fetch.clock(cycle, asked, asked, (self.at, self.left) != place)
        return order

    def _look(self, engines, idle: bool):
        instruction, nest = self.work[self.at]
        if instruction.op is Op.END:
            return "done" if idle else None
        accepts = engines[instruction.engine.value]
        if instruction.op is Op.GO:
            if not accepts:
                return None
            self.at += 1
            return instruction.engine.value, nest
        if self.left == 0:                       # the header of a SET
            self.left = instruction.length - 1
        elif accepts:
            self.left -= 1
            if self.left == 0:
                self.at += 1
        return None


def measure(config: Config, words: np.ndarray) -> Timing:
    """Return the cycles of one job of a program, of the whole and of each nest.

    Concurrent transfers over the link are not part of it; they can only add cycles where they meet
    the engines in the same bank.

    Raises
    ------
    IllegalInstruction
        If the words are no program.
    Standstill
        If the program waits for something that never happens; the message names the nests.
    """
    timing = Timing()
    work = []
    for instruction in instructions(words, training=config.training):
        nest = None
        if instruction.nest is not None:
            timing.nests.append(NestTiming(instruction.engine))
            nest = NestRun(config, instruction.nest, timing.nests[-1])
        work.append((instruction, nest))
    load, stream, post = (engine(config) for engine in (
        (ShallowLoad, ShallowStream, ShallowPost) if config.shallow
        else (TrainingLoad, TrainingStream, TrainingPost) if config.training
        else (Load, Stream, Post)))
    sequencer = Sequencer(config, work)
    shared = SharedRead() if shared_cycles(config) else DirectRequests()
    budget = 10_000 + 64 * sum(nest.count for _, nest in work if nest is not None)
    completed = [0] * len(Engine)
    single, was_idle = config.bank_ports == "single", False
    #: What deep pipelines see a cycle later: which engines accept, the store POST gave back.
    seen, given_back = (True,) * len(Engine), None
    for cycle in range(1, budget):
        accepts = (load.descriptor.accepts(not load.walking),
                   stream.descriptor.accepts(not stream.walking),
                   post.descriptor.accepts(post.state == "IDLE"))
        idle = load.idle and stream.idle and post.idle
        order = sequencer.step(cycle, accepts if config.shallow else seen, was_idle)
        was_idle = idle and order is None
        if order == "done":
            timing.cycles, timing.entries = cycle, stream.entries
            return timing
        go = [None] * len(Engine)
        if order is not None:
            go[order[0]] = order[1]
        seen = tuple(a and g is None for a, g in zip(accepts, go, strict=True))

        taken = post.writing(cycle) if single else 0
        grants, asked = [], post.request()
        for banks in (shared.request(asked), load.request(), stream.request(load.full)):
            # shallow pipelines read one word in a cycle, POST's first
            second = config.shallow and len(grants) == 1 and asked is not None
            grants.append(banks is not None and not banks & taken and not second)
            if grants[-1]:
                taken |= banks
        tag, swap = stream.admit(load, grants[2])
        filled = None
        if stream.filled and stream.filled[0][0] == cycle:
            filled = stream.filled.popleft()[1]

        served = shared.accepts(asked, grants[0])
        shared.clock(asked, grants[0])
        finished_post, released = post.step(cycle, served, filled, go[2], completed)
        finished_load = load.step(cycle, grants[1], swap, tag, go[0], completed)
        finished_stream = stream.step(cycle, grants[2], tag,
                                      released if config.shallow else given_back, go[1], completed)
        given_back = released
        completed[0] += finished_load
        completed[1] += finished_stream
        completed[2] += finished_post
    waiting = [n.engine.name for n in timing.nests if not n.finished]
    raise Standstill(f"the program stands still after {budget} cycles; nests not finished: "
                     + ", ".join(waiting[:8]))
