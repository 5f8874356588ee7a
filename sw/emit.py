"""Plans and maps to nests: where addresses, tokens and parameters come together."""

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import chain, repeat

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Engine, Relocate
from systolith.sw.ir import Graph, Op
from systolith.sw.lowering.plan import Parameters, Plan
from systolith.sw.maps import Map
from systolith.sw.nests import LoadNest, Loop, Nest, PostNest, ResidualAdd, StreamNest, Token
from systolith.sw.numerics import HALF
from systolith.sw.pieces import Piece, drain_parts, early_channels, pieces
from systolith.sw.steps import Step
from systolith.sw.tiling import pixel_tiles

__all__ = ["Constants", "Emitter", "pack_constants"]

#: Cycles of one fill of a halo, if rows are so short: it must end before POST is needed again.
_FILL = 192
#: Accumulator stores: so many groups can be streamed before one is drained.
_STORES = 2
#: No saturation beyond that of int8.
_ALL = (-128, 127)


@dataclass(frozen=True, slots=True)
class Constants:
    """A plan's tiles and parameters as elements, and (once placed) where they are."""

    tiles: np.ndarray
    parameters: np.ndarray
    tile_address: int = 0
    parameter_address: int = 0


def pack_constants(plan: Plan, config: Config) -> Constants:
    """Lay a plan's constants out in words as LOAD and POST read them."""
    dtype = np.dtype(f"int{config.operand_bits}")
    groups, passes, rows, columns = plan.tiles.shape
    tall = config.load_words * config.load_parts
    padded = np.zeros((groups, passes, tall, columns), dtype)
    padded[:, :, :rows] = plan.tiles
    # word k: rows k, k + load_words, ...
    words = padded.reshape(groups, passes, config.load_parts, config.load_words, columns)
    words = words.transpose(0, 1, 3, 2, 4).reshape(-1, config.load_parts * columns)
    tiles = np.zeros((len(words), config.lanes), dtype)
    tiles[:, :words.shape[1]] = words
    return Constants(tiles.reshape(-1), _pack_parameters(plan.parameters, plan.groups, config))


def _pack_parameters(p: Parameters, groups: int, config: Config) -> np.ndarray:
    columns = config.drain_columns
    groups *= config.columns // columns
    dtype = np.dtype(f"int{config.operand_bits}")

    def section(values, kind, words):
        padded = np.zeros(groups * columns, kind)
        padded[:len(values)] = values
        raw = padded.reshape(groups, columns).view(dtype).reshape(groups, -1)
        full = np.zeros((groups, words * config.lanes), dtype)
        full[:, :raw.shape[1]] = raw
        return full

    sizes = config.param_section_words
    return np.concatenate([
        section(p.bias, "<i4", sizes[0]), section(p.multiplier, "<i4", sizes[1]),
        section(p.right | p.left << 6, "<i2", sizes[2])], axis=1).reshape(-1)


@dataclass(frozen=True, slots=True)
class Written:
    """A part of a map that a POST nest has written, and how many have finished then."""

    #: First, and last + 1; None: all channels.
    rows: tuple[int, int]
    channels: tuple[int, int] | None
    posts: int


@dataclass(slots=True)
class Emitter:
    """Turns steps into nests, in order, keeping track of which POST nest wrote which rows."""

    graph: Graph
    config: Config
    maps: dict[str, Map]
    #: Inputs and outputs that move with a job's parity.
    relocated: dict[str, Relocate]
    nests: list[Nest] = field(default_factory=list)
    posts: int = 0
    #: Steps overlap in many small nests. Without, the program is shorter.
    overlap: bool = True
    #: Channels of the map just written that are there before the others, if its reader cares.
    arriving: int | None = None
    #: Of every tensor, in order.
    written: dict[str, list["Written"]] = field(default_factory=dict)

    def _fills(self, name: str) -> list[PostNest]:
        """Return the nests that write the zero point into the halo of a map."""
        target = self.maps[name]
        (h, w, _), halo, c = target.tensor.shape, target.halo, target.channels
        runs = [
            (target.at(-halo.top, -halo.left), halo.top * target.pitch + halo.left * c, 1),
            (target.at(0, w), (halo.left + halo.right) * c, h - 1),
            (target.at(h - 1, w), halo.right * c + halo.bottom * target.pitch, 1),
        ]
        nests = []
        for base, length, count in runs:
            if not length or not count:
                continue
            lanes = self._fill_lanes(base, length, target.pitch if count > 1 else 0)
            most = max(1, _FILL // (length // lanes))
            for first in range(0, count, most):
                nests.append(PostNest(
                    base=base + first * target.pitch, valid=lanes, fill=True,
                    zero_point=target.tensor.zero_point, op=f"halo of {name}",
                    relocate=self.relocated.get(name, Relocate.NONE),
                    loops=[Loop(length // lanes, lanes),
                           Loop(min(most, count - first), target.pitch)]))
        return nests

    def _fill_lanes(self, base: int, length: int, pitch: int) -> int:
        """Return how many elements of a run one iteration can write."""
        lanes = range(1, self.config.fill_lanes + 1)
        if self.config.shallow:
            return max(n for n in lanes if n & n - 1 == 0 and (base | length | pitch) % n == 0)
        return max(n for n in lanes if length % n == 0)

    def step(self, step: Step, plans: list[Plan], constants: list[Constants],
             reader: Plan | None, halos: list[str], urgent: bool = True) -> None:
        """Emit all tiles of a step, and the halos of some maps.

        If the next step is one plan that reads what this one writes, it is ``reader``. Unless it is
        ``urgent`` the next step does something else while the last of this one drains. The halos
        need not be there before the results: a POST nest that has to wait for the ones before it
        holds up what follows in the program.
        """
        first = len(self.nests)
        early = early_channels(reader, self.config) if reader and self.overlap else None
        # draining overlaps the next step by channels or, if not, by tiles
        least = {} if urgent and early is None else {"least": 1}
        tiles = [(tile, constant) for plan, constant in zip(plans, constants, strict=True)
                 for tile in pixel_tiles(plan, self.config, step.core.name, **least)]
        fills = [(name, nest) for name in halos for nest in self._fills(name)]
        parts = [drain_parts(tile, len(fills) if self.overlap and i == 0 else 0,
                             early if i == len(tiles) - 1 else None, self.config)
                 for i, (tile, _) in enumerate(tiles)]
        # one fill after every part but the last two, and those that are left before the first
        due = max(0, len(fills) + 2 - sum(map(len, parts))) if self.overlap else len(fills)
        fills_of = chain([fills[:due]], ([fill] for fill in fills[due:]), repeat([]))
        for i, (tile, constant) in enumerate(tiles):
            # later tiles find everything there
            cut = pieces(tile, self.arriving if i == 0 else None)
            drains = deque((part, next(fills_of)) for part in parts[i])
            self._tile(step, tile, constant, cut, drains)
        self.arriving = early
        for nest in self.nests[first:]:
            nest.op = nest.op or step.core.name

    def _tile(self, step: Step, plan: Plan, constant: Constants, cut: list[Piece],
              drains: deque[tuple[tuple[int, int], list[tuple[str, PostNest]]]]) -> None:
        """Emit a tile in pieces, and its drains, each with the fills that come before it.

        A STREAM nest holds up the program until the one before it has been taken. So where groups
        are nests of their own, the drain that frees a store is given before what waits for it.
        """
        def drain(begun: int) -> None:
            while drains and drains[0][0][0] < begun:
                part, fills = drains.popleft()
                for fill in fills:
                    self._halo(*fill)
                self._drain(step, plan, constant, part)

        together = sum(map(_tiles_of, cut)) == plan.groups * plan.passes
        if together:
            self._load(plan, constant, (0, plan.groups), (0, plan.passes))
        for piece in cut:
            if plan.period > 1:
                drain(piece.groups[0] - _STORES + 1)
            if not together:
                self._load(plan, constant, piece.groups, piece.passes)
            self._stream(step, plan, piece)
        drain(plan.groups)

    def _halo(self, name: str, nest: PostNest) -> None:
        target = self.maps[name]
        self._post(name, (-target.halo.top, target.tensor.shape[0] + target.halo.bottom), nest)

    def _load(self, plan: Plan, constant: Constants, groups: tuple[int, int],
              passes: tuple[int, int]) -> None:
        """Emit the load of some passes' tiles for some groups, group by group."""
        words, lanes = self.config.load_words, self.config.lanes
        apart = 0 if len(plan.tiles) == 1 else plan.passes * words * lanes
        self.nests.append(LoadNest(
            base=constant.tile_address + groups[0] * apart + passes[0] * words * lanes,
            loops=[Loop((passes[1] - passes[0]) * words, lanes),
                   Loop(groups[1] - groups[0], apart)]))

    def _stream(self, step: Step, plan: Plan, piece: Piece) -> None:
        name = step.core.inputs[plan.source]
        source = _seen(self.maps[name], plan)
        y, x = plan.y, plan.x
        rows_read = (0, self.maps[name].tensor.shape[0]) if plan.blocks else (y.start, y.end)
        first, rows = plan.rows_of(piece.reduction)
        top = y.start + first * y.stride
        top -= source.lead(top)
        if plan.window:
            rows, columns = plan.window
            loops = [Loop((x.count - 1) * x.stride + columns, source.stride(0, 1)),
                     Loop((y.count - 1) * y.stride + rows, source.stride(1, 0))]
            window = (rows, columns, y.stride, x.stride)
        else:
            loops = [Loop(x.count, source.stride(0, x.stride), acc=1),
                     Loop(rows, source.stride(plan.period * y.stride, 0),
                          acc=plan.period * x.count)]
            window = None
        reduction = [Loop(r.count, source.stride(r.dy, r.dx, r.elements))
                     for r in plan.reductions[piece.reduction] if r.count > 1]
        offset = piece.groups[0] * plan.group_stride
        (begin, end), whole = piece.passes, plan.passes_of[piece.reduction]
        if (begin, end) != whole:                # the reduction is a single loop then
            offset += begin * reduction[0].stride
            reduction = [replace(reduction[0], count=end - begin)]
        self.nests.append(StreamNest(
            base=source.at(top, x.start, plan.base) + offset, acc_base=first * x.count,
            loops=[*loops, *reduction, Loop(piece.groups[1] - piece.groups[0], plan.group_stride)],
            pass_level=2, group_level=2 + len(reduction), window=window,
            hold=piece.hold, keep=piece.keep,
            relocate=self.relocated.get(name, Relocate.NONE),
            token=self._token(name, *rows_read, piece.channels)))

    def _drain(self, step: Step, plan: Plan, constant: Constants,
               groups: tuple[int, int]) -> None:
        """Emit the drain of some groups of a tile: from the first to before the last."""
        config, target = self.config, _seen(self.maps[step.output].part(*step.place), plan)
        rows, columns = plan.results
        (pool_h, pool_w), (pool_dy, pool_dx) = plan.pool_kernel, plan.pool_stride
        dy, dx = plan.step
        residual = self.maps[step.residual] if step.residual else None

        def loop(count, acc, dy, dx, elements=0):
            return Loop(count, target.stride(dy, dx, elements), acc,
                        residual.stride(dy, dx, elements) if residual else 0)

        pools = [] if plan.pool is None else [Loop(pool_w, acc=1), Loop(pool_h, acc=plan.x.count)]
        steps = [] if config.post_steps == 1 else [loop(config.post_steps, 0, 0, 0,
                                                        config.post_lanes)]
        loops = [*pools, *steps, loop(columns, pool_dx, 0, dx),
                 loop(rows, pool_dy * plan.x.count, dy, 0)]
        oy, ox = plan.origin
        channel = plan.channel + groups[0] * config.columns
        # groups of POST: the array's, or a part of their columns
        apart = config.drain_columns
        first_drained, drained = (n * config.columns // apart for n in groups)
        params = first_drained * config.param_words * config.lanes
        first = self.graph.tensors[step.core.output if step.add or not residual else step.x]
        add, bounds = None, _bounds(step.ops)
        if residual:
            add = self._addition(step, residual.at(oy, ox, channel))
            bounds = _bounds([step.core]) if step.add else _ALL
        valid = apart
        if groups[1] == plan.groups:
            drained = -(-plan.channels // apart)
            valid = plan.channels - (drained - 1) * apart
        top, _, behind = step.place
        self._post(step.output, (top + oy, top + oy + (rows - 1) * dy + 1), PostNest(
            base=target.at(oy, ox, channel),
            loops=[*loops, loop(drained - first_drained, 0, 0, 0, apart)],
            group_level=len(loops), pool_level=len(pools),
            params=constant.parameter_address + params,
            valid=valid,
            zero_point=0 if plan.raw else first.zero_point, low=bounds[0], high=bounds[1], add=add,
            relocate=self.relocated.get(step.output, Relocate.NONE)),
            None if plan.blocks else (
                behind + channel, behind + plan.channel + groups[1] * config.columns))

    def _addition(self, step: Step, base: int) -> ResidualAdd:
        add = step.add or step.core
        mine = add.inputs.index(step.core.output) if step.add else 0
        scales = list(zip(add.requant.multiplier.tolist(), add.requant.right.tolist(),
                          strict=True))
        result, residual = scales[mine], scales[1 - mine]
        tensors = self.graph.tensors
        return ResidualAdd(
            base=base, zero_point=tensors[step.residual].zero_point,
            operand=residual if result == HALF else result, scales_residual=result == HALF,
            sum=scales[2], low=add.low, high=add.high,
            sum_zero_point=tensors[add.output].zero_point,
            relocate=self.relocated.get(step.residual, Relocate.NONE))

    def _post(self, name: str, rows: tuple[int, int], nest: PostNest,
              channels: tuple[int, int] | None = None) -> None:
        self.nests.append(nest)
        self.posts += 1
        self.written.setdefault(name, []).append(Written(rows, channels, self.posts))

    def _token(self, name: str, begin: int, end: int, channels: int | None) -> Token | None:
        """Return what a read of some rows, and of the channels below a number, waits for."""
        counts = [part.posts for part in self.written.get(name, [])
                  if part.rows[0] < end and part.rows[1] > begin and (
                      channels is None or part.channels is None or part.channels[0] < channels)]
        return Token(Engine.POST, max(counts)) if counts else None


def _tiles_of(piece: Piece) -> int:
    """Return how many tiles a piece takes."""
    return (piece.groups[1] - piece.groups[0]) * (piece.passes[1] - piece.passes[0])


def _seen(stored: Map, plan: Plan) -> Map:
    """Return a map as a plan sees it."""
    return stored.blocks(plan.blocks) if plan.blocks else stored


def _bounds(ops: list[Op]) -> tuple[int, int]:
    """Return the bounds of saturations one after the other (a maximum does not disturb them)."""
    low, high = _ALL
    for op in ops:
        low, high = (min(max(bound, op.low), op.high) for bound in (low, high))
    return low, high
