"""Overlapping steps: pieces cover a plan in order and need no channel that is not there yet."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith.hw.config import Config
from systolith.hw.isa import Engine
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Conv
from systolith.sw.lowering.plan import Axis, Parameters, Plan, Reduction
from systolith.sw.pieces import drain_parts, early_channels, pieces
from systolith.sw.timing import measure
from tests.networks import random_graph, requant

CONFIG = Config(rows=8, columns=4, post_lanes=4, window=False, banks=1, bank_words=64,
                frame_bytes=64)


def plan(*, groups, passes, stride=0, span=1, **rest):
    """A plan of that many groups and passes; ``stride`` 0 is a reduction over channels."""
    axis = Axis(3, 0, 1, span)
    return Plan(y=axis, x=axis, groups=groups, group_stride=stride, channels=groups * 4,
                reductions=((Reduction(passes, elements=8),),), parameters=Parameters.identity(4),
                tiles=np.zeros((1, passes, 8, 4), np.int64), **rest)


@pytest.mark.parametrize("whole, early", [
    (plan(groups=3, passes=5, stride=4), 8),
    (plan(groups=3, passes=5, stride=4, span=3), 8),
    (plan(groups=1, passes=5, stride=4), None),
    (plan(groups=3, passes=5), 32),
    (plan(groups=3, passes=1), None),
    (plan(groups=3, passes=5, span=3), None),
    (plan(groups=3, passes=5, base=8), None),
    (plan(groups=1, passes=5, blocks=4), None),
])
def test_early_channels(whole, early):
    assert early_channels(whole, CONFIG) == early
    assert early_channels(whole, replace(CONFIG, prefetch_descriptors=False)) is None


@given(groups=st.integers(1, 6), passes=st.integers(1, 6), stride=st.sampled_from([0, 4]))
def test_pieces_cover_a_plan(groups, passes, stride):
    """Every pass of every group once and in order; a group that is left open is gone on with."""
    whole = plan(groups=groups, passes=passes, stride=stride)
    early = early_channels(whole, CONFIG)
    seen, held = [], False
    for piece in pieces(whole, early):
        assert piece.keep == held
        held = piece.hold
        for group in range(*piece.groups):
            for step in range(*piece.passes):
                seen.append((group, step))
                if piece.channels is not None:
                    read = group * 4 + 4 if stride else (step + 1) * 8
                    assert read <= piece.channels == early
    assert not held
    assert seen == [(group, step) for group in range(groups) for step in range(passes)]


@given(groups=st.integers(1, 4), passes=st.lists(st.integers(1, 3), min_size=2, max_size=4),
       rows=st.integers(1, 9), phase=st.integers(0, 3))
def test_pieces_cover_rows_of_several_reductions(groups, passes, rows, phase):
    """Every row of every group once; the last piece closes the group."""
    one = plan(groups=groups, passes=sum(passes))
    whole = replace(one, y=replace(one.y, count=rows), phase=phase % len(passes),
                    reductions=tuple((Reduction(n, elements=8),) for n in passes))
    assert early_channels(whole, CONFIG) is None
    seen = []
    for piece, after in pairwise([*pieces(whole, None), None]):
        first, count = whole.rows_of(piece.reduction)
        assert count and not piece.keep
        assert piece.passes[1] - piece.passes[0] == passes[piece.reduction]
        seen += [(piece.groups[0], row) for row in range(first, rows, whole.period)]
        assert len(range(first, rows, whole.period)) == count
        assert all((whole.phase + row) % whole.period == piece.reduction
                   for row in range(first, rows, whole.period))
        assert piece.hold == (after is not None and after.groups == piece.groups)
    assert sorted(seen) == [(group, row) for group in range(groups) for row in range(rows)]


@given(groups=st.integers(1, 9), fills=st.integers(0, 3),
       early=st.one_of(st.none(), st.integers(1, 40)))
def test_drain_parts_cover_a_tile(groups, fills, early):
    parts = drain_parts(plan(groups=groups, passes=1), fills, early, CONFIG)
    assert [group for part in parts for group in range(*part)] == list(range(groups))
    assert all(begin < end for begin, end in parts)
    if early is not None and -(-early // 4) < groups:
        assert any(begin * 4 >= early > begin * 4 - 4 for begin, _ in parts)


def test_a_program_too_long_is_made_shorter():
    """What fits without overlapping still fits."""
    shorter = 0
    for seed in range(30):
        graph = random_graph(np.random.default_rng(seed), size=7, channels=24, layers=3,
                             kinds=("conv", "depthwise", "pointwise"), one_dimensional=False)
        free = compile_graph(graph, Config())
        for program_words in (64, 128, 256):
            if program_words < len(free.words):
                try:
                    program = compile_graph(graph, Config(program_words=program_words))
                except CapacityError:
                    continue
                assert len(program.words) <= program_words
                shorter += 1
    assert shorter >= 3


def test_a_program_too_long_has_its_inputs_as_they_are():
    graph = random_graph(np.random.default_rng(46), kinds=("conv",), layers=1, size=9, channels=8,
                         input_channels=2, one_dimensional=False)
    config = Config(rows=4, columns=2, post_lanes=2, banks=3, bank_words=1024, frame_bytes=64)
    fast = compile_graph(graph, config)
    assert fast.inputs[0].interleave > 1
    short = compile_graph(graph, replace(config, program_words=64))
    assert short.inputs[0].interleave == 1
    assert len(short.words) <= 64 < len(fast.words)


@pytest.mark.parametrize("window", [False, True])
def test_steps_overlap(window):
    """A pointwise convolution begins before the depthwise one is in memory, and the other way."""
    graph = random_graph(np.random.default_rng(4), size=7, channels=64, layers=0)
    graph.tensors["t0"] = replace(graph.tensors["t0"], shape=(8, 8, 64))
    ops = [("depthwise", 64, 3), ("pointwise", 1, 1), ("depthwise", 64, 3), ("pointwise", 1, 1)]
    for i, (name, groups, size) in enumerate(ops):
        graph.tensors[f"t{i + 1}"] = replace(graph.tensors["t0"], name=f"t{i + 1}")
        graph.ops.append(Conv(
            name=f"{name}{i}", kind="Conv", inputs=(f"t{i}",), output=f"t{i + 1}", groups=groups,
            weights=np.ones((64, size, size, 64 // groups), np.int8), bias=np.zeros(64, np.int32),
            requant=requant(np.ones(64) / 99), pads=(size // 2,) * 4))
    graph.inputs[0] = replace(graph.inputs[0], shape=(64, 8, 8))
    graph.outputs[0] = replace(graph.outputs[0], tensor="t4", shape=(64, 8, 8))
    config = Config(window=window)
    words = compile_graph(graph, config).words
    timing = measure(config, words)
    streams = [t for t in timing.nests if t.engine is Engine.STREAM]
    gaps = [b.started - a.finished for a, b in pairwise(streams)]
    # the last one is cut into tiles, the first of them too small to hide everything
    assert max(gaps[:6]) == 0
