"""Cutting a plan's results into tiles that fit an accumulator store."""

from collections.abc import Iterator

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.lowering.plan import Plan

__all__ = ["pixel_tiles"]

#: Tiles a layer is cut into when they stay large: while the last one drains, the next layer starts.
_TILES = 3
#: A tile is not made smaller than so many times the cycles its weights take to load.
_LOADS = 4


def pixel_tiles(plan: Plan, config: Config, name: str, least: int = _TILES) -> Iterator[Plan]:
    """Cut a plan along rows (and, where one row is too wide, columns) of its results.

    Into ``least`` tiles or more, if they stay large.

    Raises
    ------
    CapacityError
        If a single pooling window does not fit an accumulator store.
    """
    depth = config.accumulator_depth
    rows, columns = plan.results
    (pool_h, pool_w), (step_h, step_w) = plan.pool_kernel, plan.pool_stride
    widest = (depth // pool_h - pool_w) // step_w + 1
    if widest < 1:
        raise CapacityError(f"a pooling window of {pool_h} x {pool_w} does not fit the {depth} "
                            "entries of an accumulator store", "pool in two steps", name)
    across = -(-columns // widest)
    width = -(-columns // across)
    sums_wide = (width - 1) * step_w + pool_w
    tallest = (depth // sums_wide - pool_h) // step_h + 1
    height = _height(plan, config, rows, tallest, step_h * sums_wide, least)
    for y in range(0, rows, height):
        for x in range(0, columns, width):
            yield plan.part((y, min(y + height, rows)), (x, min(x + width, columns)))


def _height(plan, config, rows, tallest, sums_per_row, least) -> int:
    """Choose rows a tile: at most ``tallest``, as even as possible, and not needlessly small."""
    count = -(-rows // tallest)
    if plan.window is None:                     # the window unit reads the rows between tiles twice
        smallest = -(-_LOADS * config.load_words * plan.period // sums_per_row)
        count = max(count, min(least, rows // smallest))
    return -(-rows // count)
