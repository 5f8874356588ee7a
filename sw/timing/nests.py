"""A job's nests laid out: what the control needs to know of every iteration."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Engine, LoadKind
from systolith.hw.latency import TRAINING_LATENCY, WINDOW_LATENCY, loss_latency
from systolith.sw.program_view import NestView

__all__ = ["NestRun", "NestTiming", "Timing", "Vector"]


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


class Vector(NamedTuple):
    """What STREAM knows of a vector (``hw/stream.py``), by ``VectorTag`` and ``OperandTag``."""

    swap: bool
    clear: bool
    first: bool
    last: bool
    address: int
    #: Of a window nest: whether it completes a window, whether its row is narrow.
    pixel: tuple[bool, bool] | None = None
    outer: bool = False
    ends: bool = False


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


class NestRun:
    """A nest with all its iterations laid out."""

    def __init__(self, config: Config, view: NestView, timing: NestTiming):
        self.view, self.timing = view, timing
        start, step = view.levels()
        self.count = len(start)
        control = view.registers.get("CONTROL")
        if view.engine is Engine.LOAD:
            self.kind = LoadKind(control["kind"]) if config.training else LoadKind.TILE
            self.masks = bank_masks(config, view.track(view["BASE"]["address"], "JUMP"),
                                    config.training)
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
        if config.training:
            self._training_post(config, view, control)
        self.write_masks = None
        if config.bank_ports == "single":
            track = view.track(view["WRITE_BASE"]["address"], "WRITE_JUMP")
            masks = np.array(bank_masks(config, track, config.post_lanes > 1))
            self.write_masks = np.where(self._writes(config, view, control), masks, 0).tolist()
        self.param_word = view["PARAM_BASE"]["address"] // config.lanes

    def _training_post(self, config, view, control):
        form = view["ROUNDING"]
        #: Banks of each read of a step, one after the other: operand, mask.
        self.reads = [self.masks] if self.residual else []
        if form["masked"]:
            base = view["WRITE_BASE"]["address"] + view["MASK_DELTA"]["jump"]
            self.reads.append(bank_masks(config, view.track(base, "WRITE_JUMP"), True))
        self.loss = bool(form["loss"])
        sample = math.prod(last + 1 for last in view.lasts[:control["pool_level"]])
        #: From a step's operands to its result.
        self.delay = loss_latency(sample) if self.loss else TRAINING_LATENCY
        self.written = [end or bool(form["comparing"]) for end in self.pool_end]
        #: A record is written in the cycle behind its result, for which windows of one step pause;
        #: behind a sample the loss unit is waited for.
        begins = [True, *self.pool_end[:-1]]
        self.paused = self.pool_end if self.loss else [
            begin and end and bool(form["recording"])
            for begin, end in zip(begins, self.pool_end, strict=True)]

    def _writes(self, config, view, control):
        """Return per iteration whether any lane is written: valid columns of the last group."""
        sizes = np.cumprod([1, *(last + 1 for last in view.lasts)])
        iteration = np.arange(self.count)
        step = iteration // sizes[control["pool_level"]] % config.post_steps
        earlier = iteration < self.count - sizes[control["group_level"]]
        return (step * config.post_lanes < control["valid"]) | earlier | self.fill


def _stream_tags(config, view, control, start, step):
    """Return a :class:`Vector` for every iteration."""
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
        narrow = view["LOOP0"]["last"] < WINDOW_LATENCY - 1
        pixels = [(bool(c), narrow) for c in complete]
    outer = bool(config.training and view["OPERANDS"]["outer"])
    if outer:
        clear = np.full_like(clear, not control["keep"])
    ends = step >= control["pass_level"]
    return [Vector(*tag, outer, end) for *tag, end in zip(
        swap.tolist(), clear.tolist(), first.tolist(), last.tolist(),
        (acc % config.accumulator_depth).tolist(), pixels, ends.tolist(), strict=True)]


def _complete(view, control, count):
    """Return per pixel of a window nest whether it completes a window (``hw/window.py``)."""
    width, height = view["LOOP0"]["last"] + 1, view["LOOP1"]["last"] + 1
    y, x = np.divmod(np.arange(count) % (width * height), width)
    y, x = y - control["window_rows"], x - control["window_columns"]
    return ((y >= 0) & (y % (control["stride_y"] + 1) == 0)
            & (x >= 0) & (x % (control["stride_x"] + 1) == 0))
