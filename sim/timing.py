"""How many cycles a program takes: the control of the core, cycle by cycle, without its data.

Nothing in the hardware's timing depends on data, so this model is exact, not an estimate; the
tests hold it equal to the RTL. It mirrors the registers of ``hw/{sequencer,descriptor,nest,fetch,
load,stream,post}.py`` one for one.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from systolith.hw.accumulator import ACCUMULATE_CYCLES
from systolith.hw.array import SystolicArray
from systolith.hw.config import Config
from systolith.hw.isa import Engine, Op
from systolith.hw.memory import ALIGNED_LATENCY, VECTOR_LATENCY
from systolith.hw.post_lanes import PostLanes
from systolith.hw.sequencer import AHEAD, FETCH_LATENCY
from systolith.hw.window import Window
from systolith.sim.program_view import NestView, instructions

__all__ = ["NestTiming", "Timing", "measure"]


@dataclass(slots=True)
class NestTiming:
    """When one nest ran, in cycles since the job's start."""

    engine: Engine
    started: int = 0
    finished: int = 0


@dataclass(slots=True)
class Timing:
    """The cycles of a job."""

    #: From start to done, as the device's CYCLES register counts them.
    cycles: int = 0
    #: Vectors that entered the array (the device's ENTRIES register).
    entries: int = 0
    #: Every nest in program order.
    nests: list[NestTiming] = field(default_factory=list)


def bank_masks(config: Config, addresses: np.ndarray, vector: bool) -> list[int]:
    """Return for every address the set of banks its read needs, as a bit mask."""
    span = config.bank_words * config.lanes
    addresses = addresses % (1 << config.address_bits)
    bank = addresses // span
    masks = np.where(bank < config.banks, 1 << bank, 0)
    if vector:
        straddle = addresses % span > span - config.lanes
        after = np.where(bank == config.banks - 1, 0, bank + 1)
        masks |= np.where(straddle, 1 << after, 0)
    return masks.tolist()


class _Descriptor:
    """The pending GO of an engine (``hw/descriptor.py``)."""

    def __init__(self, prefetch: bool):
        self.prefetch = prefetch
        self.pending = self.satisfied = False
        self.nest = None
        self.token = None

    def accepts(self, idle: bool) -> bool:
        return not self.pending and (self.prefetch or idle)

    def clock(self, take: bool, go, completed: list[int]) -> None:
        token = self.token
        self.satisfied = (self.pending and not take
                          and (token is None or completed[token[0].value] >= token[1]))
        if take:
            self.pending = False
        elif go is not None:
            self.pending, self.nest, self.token = True, go, go.view.token


class _Nest:
    """A nest with all its iterations laid out."""

    def __init__(self, config: Config, view: NestView, timing: NestTiming):
        self.view, self.timing = view, timing
        start, step = view.levels()
        self.count = len(start)
        control = view.registers.get("CONTROL")
        if view.engine is Engine.LOAD:
            self.masks = bank_masks(config, view.track(view["BASE"]["address"], "JUMP"), False)
        elif view.engine is Engine.STREAM:
            self.masks = bank_masks(config, view.track(view["BASE"]["address"], "JUMP"), True)
            self.tags = _stream_tags(config, view, control, start, step)
        else:
            self._post(config, view, control, step)

    def _post(self, config, view, control, step):
        self.fill, self.reload = bool(control["fill"]), bool(control["reload"])
        self.residual = bool(control["residual"]) and config.residual
        ends = (step >= control["group_level"]) & (not self.fill)
        self.group_end = ends.tolist()
        self.pool_end = (step >= control["pool_level"]).tolist()
        self.masks = None
        if self.residual:
            track = view.track(view["RESIDUAL_BASE"]["address"], "RESIDUAL_JUMP")
            self.masks = bank_masks(config, track, True)
        self.write_masks = None
        if config.bank_ports == "single":
            track = view.track(view["WRITE_BASE"]["address"], "WRITE_JUMP")
            self.write_masks = bank_masks(config, track, True)
        self.param_word = view["PARAM_BASE"]["address"] // config.lanes


def _stream_tags(config, view, control, start, step):
    """Return per vector (swap, clear, first, last, acc address, pixel or None)."""
    swap, first = start >= control["pass_level"], start >= control["group_level"]
    last = step >= control["group_level"]
    if control["hold"]:
        last[-1] = False
    passes = np.cumsum(swap) - 1
    clear = first[np.flatnonzero(swap)][passes] & (not control["keep"])
    acc = view.accumulators()
    pixels = [None] * len(swap)
    if control["window"]:
        complete = _complete(view, control, len(swap))
        done = np.cumsum(complete) - complete        # windows before this pixel
        begins = np.flatnonzero(swap)[passes]
        acc = acc[begins] + done - done[begins]
        narrow = view["LOOP0"]["last"] < Window.LATENCY - 1
        pixels = [(bool(c), narrow) for c in complete]
    return list(zip(swap.tolist(), clear.tolist(), first.tolist(), last.tolist(),
                    (acc % config.accumulator_depth).tolist(), pixels, strict=True))


def _complete(view, control, count):
    """Return per pixel of a window nest whether it completes a window (``hw/window.py``)."""
    width, height = view["LOOP0"]["last"] + 1, view["LOOP1"]["last"] + 1
    y, x = np.divmod(np.arange(count) % (width * height), width)
    y, x = y - control["window_rows"], x - control["window_columns"]
    return ((y >= 0) & (y % (control["stride_y"] + 1) == 0)
            & (x >= 0) & (x % (control["stride_x"] + 1) == 0))


class _Fetch:
    """Credits, requests in flight and the FIFO of one reader (``hw/fetch.py``)."""

    def __init__(self, depth: int, latency: int):
        self.credits, self.latency = depth, latency
        self.inner, self.ready = 0, False
        self.arriving = deque()

    @property
    def level(self) -> int:
        return self.inner + self.ready

    def clock(self, cycle: int, asked: bool, granted: bool, take: bool) -> None:
        arrived = bool(self.arriving) and self.arriving[0] == cycle
        if arrived:
            self.arriving.popleft()
        if granted:
            self.arriving.append(cycle + self.latency)
        self.credits += take - asked
        refill = self.inner > 0 and (not self.ready or take)
        self.ready = refill or (self.ready and not take)
        self.inner += arrived - refill


class _Walker:
    """Take, start, walk: the part LOAD and STREAM share."""

    def __init__(self, config: Config, depth: int, latency: int):
        self.descriptor = _Descriptor(config.prefetch_descriptors)
        self.fetch = _Fetch(depth, latency)
        self.starting = self.valid = False
        self.nest = None
        self.index = 0
        #: Banks of the registered request, if there is one.
        self.waiting = None

    @property
    def walking(self) -> bool:
        return self.starting or self.valid

    def request(self) -> int | None:
        """Return the banks wanted in this cycle, or None."""
        return self.waiting

    def accepts(self, granted: bool) -> bool:
        """Return whether the walker's address becomes the request of the next cycle."""
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


class _Load(_Walker):
    """The LOAD engine and the tile loader (``hw/load.py``)."""

    def __init__(self, config: Config):
        super().__init__(config, config.load_fifo_depth, ALIGNED_LATENCY)
        self.words = config.load_words
        self.index_in_tile, self.full = 0, False

    def step(self, cycle, granted, swap, go, completed) -> bool:
        burst = self.index_in_tile != 0 or (self.fetch.level >= self.words and not self.full)
        if burst and self.index_in_tile == 0:
            self.full = True
        elif swap:
            self.full = False
        if burst:
            self.index_in_tile = (self.index_in_tile + 1) % self.words
        return self.clock(cycle, granted, burst, go, completed)


class _Stream(_Walker):
    """The STREAM engine and the array's entrance (``hw/stream.py``)."""

    def __init__(self, config: Config, latency: int):
        super().__init__(config, config.fifo_depth, VECTOR_LATENCY)
        self.queue = deque()
        self.open, self.store = False, 0
        self.owned = [False, False]
        self.recent = deque([None] * (ACCUMULATE_CYCLES - 1), ACCUMULATE_CYCLES - 1)
        # the window unit: (tag, store) of its pixels, the tile they have a claim on
        self.window = deque([None] * Window.LATENCY, Window.LATENCY)
        self.claimed = self.owes = False
        self.filled = deque()
        self.entries = 0
        # registered entry, array, column skew, accumulation
        self.fill_latency = latency + config.columns + ACCUMULATE_CYCLES - 2

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


class _Post:
    """The POST engine (``hw/post.py``, ``hw/parameters.py``)."""

    def __init__(self, config: Config):
        self.config = config
        self.descriptor = _Descriptor(config.prefetch_descriptors)
        self.state = "IDLE"
        self.full = [False, False]
        self.store = self.phase = self.outstanding = 0
        self.asked = self.got = self.index = self.param_word = 0
        self.nest = None
        self.params_arriving, self.results, self.writes = deque(), deque(), deque()

    @property
    def idle(self) -> bool:
        return self.state == "IDLE" and not self.descriptor.pending

    def request(self) -> int | None:
        if self.state == "GROUP":
            if self.nest.reload and self.asked != self.config.param_words:
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
        fetching = state == "GROUP" and nest.reload
        released, finished, take = None, False, False
        full_now = self.full[self.store]
        outstanding = self.outstanding
        if self.results and self.results[0] == cycle:
            self.results.popleft()
            self.outstanding -= 1
        if state == "IDLE":
            if self.descriptor.pending and self.descriptor.satisfied:
                take, self.state = True, "START"
        elif state == "START":
            self.index, self.param_word = 0, nest.param_word
            self.state = "RUN" if nest.fill else "GROUP"
        elif state == "GROUP":
            if full_now and (not nest.reload or self.got == self.config.param_words):
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
                self.params_arriving.append(cycle + VECTOR_LATENCY)
                self.asked += 1
                self.param_word += 1
        self.phase = (self.phase + 1) % 4 if nest is not None and nest.residual and state != "START" else 0
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
            latency = PostLanes.RESIDUAL_LATENCY if nest.residual else PostLanes.LATENCY
            self.results.append(cycle + latency)
            self.outstanding += 1
            if nest.write_masks is not None:
                self.writes.append((cycle + latency + 2, nest.write_masks[self.index]))
        if nest.group_end[self.index]:
            released, self.store = self.store, 1 - self.store
            self.state = "GROUP"
        self.index += 1
        if self.index == nest.count:
            self.state = "FLUSH"
        return released


class _Sequencer:
    """The sequencer (``hw/sequencer.py``): which word is looked at, and whether it moves on."""

    def __init__(self, work: list):
        self.work = work
        self.at, self.left = 0, 0
        self.fetch = _Fetch(AHEAD, FETCH_LATENCY)

    def step(self, cycle: int, engines, idle: bool):
        """Return (engine of a GO, its nest) or None; ``done`` as the string "done"."""
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
    RuntimeError
        If the program waits for something that never happens; the message names the nests.
    """
    timing = Timing()
    work = []
    for instruction in instructions(words):
        nest = None
        if instruction.nest is not None:
            timing.nests.append(NestTiming(instruction.engine))
            nest = _Nest(config, instruction.nest, timing.nests[-1])
        work.append((instruction, nest))
    load, stream = _Load(config), _Stream(config, SystolicArray.latency_of(config))
    post, sequencer = _Post(config), _Sequencer(work)
    budget = 10_000 + 64 * sum(nest.count for _, nest in work if nest is not None)
    completed = [0] * len(Engine)
    single = config.bank_ports == "single"
    for cycle in range(1, budget):
        accepts = (load.descriptor.accepts(not load.walking),
                   stream.descriptor.accepts(not stream.walking),
                   post.descriptor.accepts(post.state == "IDLE"))
        idle = (post.idle and not (load.walking or load.descriptor.pending or stream.walking
                                   or stream.descriptor.pending or stream.fetch.ready
                                   or stream.held))
        order = sequencer.step(cycle, accepts, idle)
        if order == "done":
            timing.cycles, timing.entries = cycle, stream.entries
            return timing
        go = [None] * len(Engine)
        if order is not None:
            go[order[0]] = order[1]

        taken = post.writing(cycle) if single else 0
        grants = []
        for reader in (post, load, stream):
            banks = reader.request()
            grants.append(banks is not None and not banks & taken)
            if grants[-1]:
                taken |= banks
        tag = stream.leaves(load.full)
        entry = stream.enters(tag)
        filled = None
        if stream.filled and stream.filled[0][0] == cycle:
            filled = stream.filled.popleft()[1]

        finished_post, released = post.step(cycle, grants[0], filled, go[2], completed)
        swap = entry is not None and entry[1]
        finished_load = load.step(cycle, grants[1], swap, go[0], completed)
        finished_stream = stream.step(cycle, grants[2], tag, entry, released, go[1], completed)
        completed[0] += finished_load
        completed[1] += finished_stream
        completed[2] += finished_post
    waiting = [n.engine.name for n in timing.nests if not n.finished]
    raise RuntimeError(f"the program stands still after {budget} cycles; nests not finished: "
                       + ", ".join(waiting[:8]))
