"""Selections and concatenations: copies, from somewhere to somewhere else."""

from dataclasses import dataclass, replace

import numpy as np

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Concat, Conv, Requant, Select
from systolith.sw.lowering.channelwise import lower_copy
from systolith.sw.lowering.dense import lower_dense
from systolith.sw.lowering.plan import Axis, Parameters, Plan
from systolith.sw.maps import Map

__all__ = ["Run", "affine_runs", "lower_concat", "lower_select"]


@dataclass(frozen=True, slots=True)
class Run:
    """Results ``first``, ``first + step``... read ``start``, ``start + stride``..."""

    first: int
    step: int
    count: int
    start: int
    stride: int

    @property
    def axis(self) -> Axis:
        """What is read."""
        return Axis(self.count, self.start, self.stride, 1)


def affine_runs(indices: tuple[int, ...]) -> list[Run]:
    """Split ``result i reads indices[i]`` into few runs in which both ends go at a constant pace.

    A period p is tried: results i, i + p, i + 2p... are one run as long as their indices rise
    evenly. Resizing by p / q has the period p.
    """
    best = None
    for period in range(1, len(indices) + 1):
        runs: list[Run] = []
        for residue in range(period):
            runs += _even_runs(indices[residue::period], residue, period)
            if best and len(runs) >= len(best):
                break
        else:
            best = runs
        if len(best) <= period:
            break                                # longer periods have more residues
    return best


def _even_runs(indices: tuple[int, ...], first: int, step: int) -> list[Run]:
    runs = []
    at = 0
    while at < len(indices):
        end, stride = at + 1, 0
        if end < len(indices) and indices[end] >= indices[at]:
            stride = indices[end] - indices[at]
            while end < len(indices) and indices[end] - indices[end - 1] == stride:
                end += 1
        runs.append(Run(first + at * step, step, end - at, indices[at], stride))
        at = end
    return runs


def lower_select(select: Select, source: Map, config: Config) -> list[Plan]:
    """Return the plans of a selection: one for each pair of runs of rows and columns."""
    plans = []
    for y in affine_runs(select.rows):
        for x in affine_runs(select.columns):
            plans += [replace(plan, origin=(y.first, x.first), step=(y.step, x.step))
                      for plan in _channels(select, source, y.axis, x.axis, config)]
    return plans


def _channels(select: Select, source: Map, y: Axis, x: Axis, config: Config) -> list[Plan]:
    """Return the plans that copy some channels: neighbours as they are, others by a product."""
    first, count = select.channels[0], len(select.channels)
    if select.channels == tuple(range(first, first + count)) and first % config.alignment == 0:
        return [replace(plan, base=plan.base + first)
                for plan in lower_copy(y, x, source, config, channels=count)]
    weights = np.zeros((count, 1, 1, source.tensor.shape[2]), np.int8)
    weights[np.arange(count), 0, 0, select.channels] = 1
    p = Parameters.identity(count)
    product = Conv(name=select.name, kind=select.kind, inputs=select.inputs, output=select.output,
                   weights=weights, bias=p.bias, requant=Requant(p.multiplier, p.left, p.right))
    return [replace(plan, y=y, x=x)
            for plan in lower_dense(product, source, (y.count, x.count), config)]


def lower_concat(concat: Concat, sources: list[Map | None], places: list[tuple[int, int, int]],
                 config: Config) -> list[Plan]:
    """Return the plans that write every part to its place; parts that are None are there already.

    Raises
    ------
    CapacityError
        If a part begins at a channel that the memory cannot write to.
    """
    plans = []
    for i, (source, (row, column, channel)) in enumerate(zip(sources, places, strict=True)):
        if source is None:
            continue
        h, w, channels = source.tensor.shape
        if channel % config.alignment:
            raise CapacityError(
                f"its part {i} begins at channel {channel}, but {config.describe()} writes at "
                f"multiples of {config.alignment} only", "give the parts before it even numbers of "
                "channels, or use another target", concat.name)
        one = concat.requant.elements(slice(i, i + 1))
        parameters = Parameters.of(np.full(channels, -source.tensor.zero_point), one)
        plans += [replace(plan, source=i, channel=plan.channel + channel, origin=(row, column))
                  for plan in lower_copy(Axis(h, 0, 1, 1), Axis(w, 0, 1, 1), source, config,
                                         parameters=parameters)]
    return plans
