"""Tiling: every result once, and never more sums than an accumulator store has entries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.lowering.plan import Axis, Parameters, Plan
from systolith.sw.tiling import pixel_tiles

NOTHING = np.zeros((1, 1, 4, 4), np.int64)


def config(depth):
    return Config(rows=4, columns=4, post_lanes=4, accumulator_depth=depth, banks=1, bank_words=64,
                  frame_bytes=64)


def plan(rows, columns, *, pool=None, stride=(1, 1), origin=(0, 0), window=None):
    """A plan with that many sums along each axis, its windows 3 x 3."""
    return Plan(y=Axis(rows, -1, stride[0], 3), x=Axis(columns, -2, stride[1], 3), origin=origin,
                groups=1, tiles=NOTHING, parameters=Parameters.identity(4), channels=4, pool=pool,
                window=window)


def check(whole, depth):
    """Every result is in one tile, at its place, computed from the windows it should be."""
    seen = np.zeros(whole.results, int)
    for tile in pixel_tiles(whole, config(depth), "layer"):
        rows, columns = tile.results
        top, left = (a - b for a, b in zip(tile.origin, whole.origin, strict=True))
        assert tile.y.count * tile.x.count <= depth
        seen[top:top + rows, left:left + columns] += 1
        for part, axis, first, step in zip((tile.y, tile.x), (whole.y, whole.x), (top, left),
                                           whole.pool_stride, strict=True):
            assert part.start == axis.start + first * step * axis.stride
            assert (part.stride, part.span) == (axis.stride, axis.span)
            assert part.end <= axis.end
    assert (seen == 1).all()


@given(rows=st.integers(1, 90), columns=st.integers(1, 90),
       stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
       origin=st.tuples(st.integers(0, 9), st.integers(0, 9)), depth=st.sampled_from([16, 64, 256]),
       window=st.sampled_from([None, (3, 3)]))
def test_plain(rows, columns, stride, origin, depth, window):
    check(plan(rows, columns, stride=stride, origin=origin, window=window), depth)


@given(rows=st.integers(1, 60), columns=st.integers(1, 60),
       kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
       step=st.tuples(st.integers(1, 5), st.integers(1, 5)), depth=st.sampled_from([16, 64]))
def test_pooled(rows, columns, kernel, step, depth):
    """Windows of a maximum that overlap, touch or leave gaps are never cut."""
    rows, columns = max(rows, kernel[0]), max(columns, kernel[1])
    check(plan(rows, columns, pool=(kernel, step)), depth)


def test_largest_window_fits():
    check(plan(20, 20, pool=((4, 4), (1, 1))), 16)


@pytest.mark.parametrize("kernel", [(1, 17), (17, 1), (5, 4), (4, 5)])
def test_window_too_large(kernel):
    with pytest.raises(CapacityError, match=rf"conv3: a pooling window of {kernel[0]} x {kernel[1]}"
                                            " does not fit the 16 entries of an accumulator store"):
        list(pixel_tiles(plan(20, 20, pool=(kernel, (1, 1))), config(16), "conv3"))


def test_large_layer_is_cut_so_that_draining_overlaps():
    """A layer that would fit one store is cut in three where its tiles stay long enough."""
    assert len(list(pixel_tiles(plan(30, 30), config(1024), "layer"))) == 3
    assert len(list(pixel_tiles(plan(2, 2), config(1024), "layer"))) == 1


def test_window_unit_is_not_cut_needlessly():
    """Rows between tiles would be read twice."""
    assert len(list(pixel_tiles(plan(30, 30, window=(3, 3)), config(1024), "layer"))) == 1
