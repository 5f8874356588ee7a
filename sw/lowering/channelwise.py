"""Depthwise convolution, sums and copies: every output channel sees one input channel."""

from dataclasses import replace
from typing import Any

import numpy as np

from systolith.hw.config import Config
from systolith.sw.ir import Add, Conv, Pool
from systolith.sw.lowering.geometry import clipped_axis, conv_axis
from systolith.sw.lowering.plan import Axis, Parameters, Plan, Reduction
from systolith.sw.maps import Map
from systolith.sw.numerics import average_multiplier

__all__ = ["lower_add", "lower_average", "lower_copy", "lower_depthwise", "lower_max"]

#: Taps of the window unit along each axis.
_WINDOW = 3


def lower_depthwise(conv: Conv, source: Map, results: tuple[int, int],
                    config: Config) -> list[Plan]:
    """Return the plans of a depthwise convolution (groups equal to channels)."""
    weights = conv.weights[..., 0].astype(np.int64)
    h, w = results
    top, left, _, _ = conv.pads
    bias = conv.bias - source.tensor.zero_point * weights.sum((1, 2))
    return _filter(
        weights, conv_axis(h, weights.shape[1], conv.stride[0], top, conv.dilation[0]),
        conv_axis(w, weights.shape[2], conv.stride[1], left, conv.dilation[1]),
        Parameters.of(bias, conv.requant), source, config, dilation=conv.dilation)


def lower_average(pool: Pool, source: Map, results: tuple[int, int],
                  config: Config) -> list[Plan]:
    """Return the plans of an average: a filter of ones for each count of valid elements."""
    h, w, channels = source.tensor.shape
    top, left, _, _ = pool.pads
    raw = pool.requant is None
    axes = [(y, x) for y in clipped_axis(results[0], h, pool.kernel[0], pool.stride[0], top)
            for x in clipped_axis(results[1], w, pool.kernel[1], pool.stride[1], left)]
    if [(y.span, x.span) for (_, y), (_, x) in axes] == [(h, w)] and results == (1, 1):
        plan = _whole(pool, source, config)
        if plan:
            return [replace(plan, raw=raw)]
    plans = []
    for (y0, y), (x0, x) in axes:
        parameters = _divided(pool, y.span * x.span, channels, source)
        weights = np.ones((channels, y.span, x.span), np.int64)
        of_count = _filter(weights, y, x, parameters, source, config, origin=(y0, x0))
        plans += [replace(plan, raw=raw) for plan in of_count]
    return plans


def _divided(pool: Pool, count: int, channels: int, source: Map) -> Parameters:
    """Return the parameters that make sums of ``count`` elements an average."""
    if pool.requant is not None:
        bias = np.full(channels, -source.tensor.zero_point * count)
        return Parameters.of(bias, pool.requant.elements([count - 1 if any(pool.pads) else 0]))
    multiplier, left_shift, right_shift = average_multiplier(count)
    ones = np.ones(channels, np.int64)
    return Parameters(0 * ones, multiplier * ones, left_shift * ones, right_shift * ones)


def _whole(pool: Pool, source: Map, config: Config) -> Plan | None:
    """Return the plan of an average over a whole map, or None if its channels form no blocks.

    Blocks of channels take the place of the results' columns: so a tile serves as many vectors as
    there are blocks (one result alone would wait for a tile with every vector), and all of them
    are one group.
    """
    h, w, channels = source.tensor.shape
    wide = min(config.rows, config.columns)
    if channels % wide or source.channels != channels or source.pitch != w * channels:
        return None
    y, x = Axis(1, 0, 1, h * w), Axis(channels // wide, 0, 1, 1)
    tiles = np.zeros((1, h * w, config.rows, config.columns), np.int64)
    tiles[:, :, range(wide), range(wide)] = 1
    return Plan(y=y, x=x, groups=1, reductions=((Reduction(h * w, dy=1),),),
                tiles=tiles,
                parameters=_divided(pool, h * w, wide, source), channels=wide, blocks=wide)


def lower_max(pool: Pool, source: Map, results: tuple[int, int], config: Config) -> list[Plan]:
    """Return the plans of a maximum: copies into the accumulators, read window by window."""
    h, w, _ = source.tensor.shape
    top, left, _, _ = pool.pads
    plans = []
    for y0, y in clipped_axis(results[0], h, pool.kernel[0], pool.stride[0], top):
        for x0, x in clipped_axis(results[1], w, pool.kernel[1], pool.stride[1], left):
            window = (y.span, x.span), pool.stride
            plans += lower_copy(_positions(y), _positions(x), source, config, origin=(y0, x0),
                           pool=None if window[0] == (1, 1) and pool.stride == (1, 1) else window)
    return plans


def lower_add(add: Add, source: Map, results: tuple[int, int], config: Config) -> list[Plan]:
    """Return the plans that bring an addition's first operand to POST."""
    h, w = results
    return lower_copy(Axis(h, 0, 1, 1), Axis(w, 0, 1, 1), source, config)


def _positions(axis: Axis) -> Axis:
    """Return the positions the windows of an axis cover, one by one."""
    return Axis(axis.end - axis.start, axis.start, 1, 1)


def lower_copy(y: Axis, x: Axis, source: Map, config: Config, *, channels: int | None = None,
               parameters: Parameters | None = None, **rest: Any) -> list[Plan]:
    """Return the plans that bring the pixels at ``y`` and ``x`` to POST.

    All channels or the first ones, unchanged or with other ``parameters``.
    """
    channels = source.tensor.shape[2] if channels is None else channels
    parameters = parameters or Parameters.identity(channels, -source.tensor.zero_point)
    return _diagonal(np.ones((channels, 1, 1), np.int64), y, x, parameters, source, config,
                     shared=True, **rest)


def _filter(weights, y, x, parameters, source, config, *, dilation=(1, 1), origin=(0, 0)):
    """Choose between the window unit and diagonal tiles, by the cycles each takes."""
    diagonal = _diagonal(weights, y, x, parameters, source, config, dilation=dilation,
                         origin=origin, shared=bool((weights == weights.flat[0]).all()))

    def straight(obstacle):
        return [replace(plan, obstacle=obstacle) for plan in diagonal]

    if not config.window:
        return straight("the target has no window unit")
    if dilation != (1, 1):
        return straight("the window unit does not dilate")
    windows = _windows(weights, y, x, parameters, config, origin)
    kh, kw = windows.window
    width = (x.count - 1) * x.stride + kw
    if width > config.window_width:
        return straight(f"the window unit takes rows of {config.window_width} pixels, not {width}")
    if max(y.stride, x.stride) > 4:
        return straight("the window unit's stride is 4 at most")
    pixels = ((y.count - 1) * y.stride + kh) * width
    # a pass lasts at least as long as the tile of the next one takes to load
    through = windows.groups * windows.passes * max(pixels, config.load_words)
    along = sum(plan.groups * plan.passes for plan in diagonal) * max(
        y.count * x.count, config.load_words)
    return [windows] if through <= along else straight("the window unit would take longer")


def _windows(weights, y, x, parameters, config, origin) -> Plan:
    """Feed up to 3 x 3 taps of every channel side by side; larger kernels in several passes."""
    channels, kh, kw = weights.shape
    blocks_y, blocks_x = -(-kh // _WINDOW), -(-kw // _WINDOW)
    groups = -(-channels // config.columns)
    taps = np.zeros((groups * config.columns, blocks_y, _WINDOW, blocks_x, _WINDOW), np.int64)
    rows = np.zeros((channels, blocks_y * _WINDOW, blocks_x * _WINDOW), np.int64)
    rows[:, :kh, :kw] = weights
    taps[:channels] = rows.reshape(channels, blocks_y, _WINDOW, blocks_x, _WINDOW)
    tiles = np.zeros((groups, blocks_y * blocks_x, config.rows, config.columns), np.int64)
    taps = taps.reshape(groups, config.columns, blocks_y, _WINDOW, blocks_x, _WINDOW)
    tiles[:, :, :_WINDOW * _WINDOW] = taps.transpose(0, 2, 4, 3, 5, 1).reshape(
        groups, blocks_y * blocks_x, _WINDOW * _WINDOW, config.columns)
    return Plan(y=y, x=x, origin=origin, groups=groups, group_stride=config.columns,
                reductions=((Reduction(blocks_x, dx=_WINDOW), Reduction(blocks_y, dy=_WINDOW)),),
                tiles=tiles, parameters=parameters, channels=channels,
                window=(min(kh, _WINDOW), min(kw, _WINDOW)))


def _diagonal(weights, y, x, parameters, source, config, *, dilation=(1, 1), origin=(0, 0),
              shared=False, pool=None) -> list[Plan]:
    """Put every channel's taps on diagonals; several taps of a kernel row where they fit.

    ``shared``: all channels have the same weights, so one group's tiles serve all.
    """
    channels, kh, kw = weights.shape
    wide = min(config.rows, config.columns)
    together = 1 + (config.rows - wide) // source.channels if dilation[1] == 1 else 1
    steps = -(-kw // together)
    groups = -(-channels // wide)
    kernel = np.zeros((groups * wide, kh, steps * together), np.int64)
    kernel[:channels, :, :kw] = weights
    if shared:
        kernel[:] = kernel[:1]
    tiles = np.zeros((groups, kh, steps, config.rows, config.columns), np.int64)
    kernel = kernel.reshape(groups, wide, kh, steps, together)
    for tap in range(together):
        for n in range(wide):
            tiles[:, :, :, tap * source.channels + n, n] = kernel[:, n, :, :, tap]
    tiles = tiles.reshape(groups, kh * steps, config.rows, config.columns)
    reduction = (Reduction(steps, dx=together * dilation[1]), Reduction(kh, dy=dilation[0]))
    whole = Plan(y=y, x=x, origin=origin, groups=groups, group_stride=wide,
                 reductions=(reduction,), tiles=tiles[:1] if shared else tiles,
                 parameters=parameters, channels=channels, pool=pool)
    return [whole] if wide == config.columns or groups == 1 else _one_by_one(whole, wide)


def _one_by_one(plan: Plan, wide: int) -> list[Plan]:
    """Split a plan into its groups: with fewer rows than columns, groups leave columns unused."""
    plans = []
    for group in range(plan.groups):
        part = slice(group * wide, min((group + 1) * wide, plan.channels))
        p = plan.parameters
        plans.append(replace(
            plan, groups=1, base=part.start, channel=part.start, channels=part.stop - part.start,
            tiles=plan.tiles[min(group, len(plan.tiles) - 1)][None],
            parameters=Parameters(*(v[part] for v in (p.bias, p.multiplier, p.left, p.right)))))
    return plans
