"""Lowering: results covered once, halos large enough, sums that could overflow refused."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from systolith.boards.icebreaker import ICEBREAKER
from systolith.hw.config import Config
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Concat, Conv, Graph, Pool, Tensor, TransposedConv
from systolith.sw.lowering.geometry import clipped_axis, conv_axis
from systolith.sw.lowering.interleaving import interleaved
from systolith.sw.lowering.lower import lower_step, needed_halo
from systolith.sw.lowering.placing import affine_runs
from systolith.sw.lowering.plan import Axis, Parameters, Plan, Reduction
from systolith.sw.maps import Halo, Map
from systolith.sw.steps import Step, fuse
from tests.compiled import CONFIGS
from tests.networks import FUSED, KINDS, PLACED, random_graph, requant

NARROW = Config(rows=4, columns=2, post_lanes=2, accumulator_bits=20, banks=1, bank_words=64,
                frame_bytes=64)
WIDE = replace(NARROW, accumulator_bits=32)


# -- geometry -----------------------------------------------------------------------------------

def windows(axis):
    """Return (begin, end) of every window of an axis."""
    return [(axis.start + i * axis.stride, axis.start + i * axis.stride + axis.span)
            for i in range(axis.count)]


@given(size=st.integers(1, 30), kernel=st.integers(1, 8), stride=st.integers(1, 9),
       before=st.integers(0, 7), after=st.integers(0, 7))
def test_clipped_axis_covers_every_result(size, kernel, stride, before, after):
    """Every result once and in order, its window cut to what lies on the map."""
    assume(before < kernel and after < kernel and before + size + after >= kernel)
    results = (before + size + after - kernel) // stride + 1
    starts = [i * stride - before for i in range(results)]
    expected = [(max(s, 0), min(s + kernel, size)) for s in starts]
    axes = clipped_axis(results, size, kernel, stride, before)
    assert [first for first, _ in axes] == np.cumsum([0, *(a.count for _, a in axes)])[:-1].tolist()
    assert [window for _, axis in axes for window in windows(axis)] == expected


def test_clipped_axis_shares_whole_windows():
    axes = clipped_axis(12, 12, 3, 1, 1)
    assert axes == [(0, Axis(1, 0, 1, 2)), (1, Axis(10, 0, 1, 3)), (11, Axis(1, 10, 1, 2))]


def test_conv_axis():
    assert windows(conv_axis(3, 3, 2, 1, dilation=2)) == [(-1, 4), (1, 6), (3, 8)]


@given(count=st.integers(1, 20), start=st.integers(-9, 9), stride=st.integers(1, 5),
       span=st.integers(1, 9), data=st.data())
def test_part_of_an_axis(count, start, stride, span, data):
    axis = Axis(count, start, stride, span)
    begin = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(begin + 1, count))
    assert windows(axis.part(begin, end)) == windows(axis)[begin:end]
    assert axis.end == windows(axis)[-1][1]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=24))
def test_affine_runs_are_the_indices(indices):
    runs = affine_runs(tuple(indices))
    found = {run.first + i * run.step: run.start + i * run.stride
             for run in runs for i in range(run.count)}
    assert found == dict(enumerate(indices)) and sum(run.count for run in runs) == len(indices)
    assert all(run.stride >= 0 for run in runs)


@pytest.mark.parametrize("indices, count", [
    (range(9), 1), (range(2, 9, 3), 1), ([4] * 7, 1), ([i // 2 for i in range(20)], 2),
    ([i * 2 // 3 for i in range(30)], 3), ([0, 0, 0, 0, 1, 1, 1, 1], 2), ([3, 2, 1, 0], 4)])
def test_affine_runs_are_few(indices, count):
    assert len(affine_runs(tuple(indices))) == count


# -- plans --------------------------------------------------------------------------------------

def lowered(seed, config):
    """Yield (graph, step, source map, plans) of a random network."""
    graph = random_graph(np.random.default_rng(seed), kinds=KINDS + FUSED + PLACED, layers=6,
                         size=9, channels=9)
    unit = config.alignment
    for step in fuse(graph):
        sources = []
        for tensor in (graph.tensors[name] for name in step.core.inputs):
            stored = -(-tensor.shape[2] // unit) * unit
            sources.append(Map(tensor, needed_halo(step, graph), stored))
        try:
            yield graph, step, sources[0], lower_step(step, sources, graph, config)
        except CapacityError as error:
            assert "writes at multiples of" in str(error)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(6))
def test_every_result_is_planned_once(seed, name):
    config = CONFIGS[name]
    for graph, step, _, plans in lowered(seed, config):
        seen = np.zeros(graph.tensors[step.output].shape, int)
        for plan in plans:
            (y, x), (rows, columns) = plan.origin, plan.results
            if plan.blocks:
                rows, columns, channels = 1, 1, columns * plan.channels
            else:
                channels = plan.channels
            dy, dx = plan.step
            seen[y:y + rows * dy:dy, x:x + columns * dx:dx,
                 plan.channel:plan.channel + channels] += 1
            assert 0 < plan.valid(config) <= config.columns
            assert plan.tiles.shape[0] in (1, plan.groups)
            assert plan.tiles.shape[2:] == (config.rows, config.columns)
            assert plan.passes_of[-1][1] == plan.passes
        assert (seen == 1).all(), step.core.kind


@pytest.mark.parametrize("seed", range(10))
def test_windows_stay_within_the_halo(seed):
    """No convolution reads outside its halo, and no side of it is larger than what is read."""
    for _, step, source, plans in lowered(seed, CONFIGS["tall"]):
        if not isinstance(step.core, Conv | TransposedConv):
            assert not source.halo
            continue
        h, w, _ = source.tensor.shape
        for plan in plans:
            assert plan.y.start >= -source.halo.top and plan.x.start >= -source.halo.left
            assert plan.y.end <= h + source.halo.bottom and plan.x.end <= w + source.halo.right
        if isinstance(step.core, TransposedConv):
            for axis, size, before, after in ((0, h, source.halo.top, source.halo.bottom),
                                              (1, w, source.halo.left, source.halo.right)):
                axes = [(plan.y, plan.x)[axis] for plan in plans]
                assert max(0, *(-a.start for a in axes)) == before
                assert max(0, *(a.end - size for a in axes)) == after
        elif not step.pool:              # a maximum may leave the last sums out
            y, x = plans[0].y, plans[0].x
            assert (max(0, y.end - h), max(0, x.end - w)) == (source.halo.bottom, source.halo.right)
            assert (y.start, x.start) == (-source.halo.top, -source.halo.left)


def single(op, shape, config, width=None):
    """Return the plans of one operation on a map of that shape, with that many pixels a row."""
    h, w, c = shape
    tensors = {"x": Tensor(name="x", shape=shape, scale=1.0, zero_point=3)}
    if isinstance(op, Conv):
        rows, columns = h - op.weights.shape[1] + 1, w - op.weights.shape[2] + 1
        tensors["y"] = Tensor(name="y", shape=(rows, columns, len(op.weights)), scale=1.0,
                              zero_point=0)
    else:
        rows, columns = h - op.kernel[0] + 1, w - op.kernel[1] + 1
        tensors["y"] = replace(tensors["x"], name="y", shape=(rows, columns, c))
    graph = Graph(name="one", tensors=tensors, ops=[op], inputs=[], outputs=[])
    source = Map(tensors["x"], Halo(right=(width or w) - w), c)
    return lower_step(Step(op), [source], graph, config)


def convolution(kh, kw, channels):
    return Conv(name="conv", kind="Conv", inputs=("x",), output="y",
                weights=np.ones((3, kh, kw, channels), np.int8), bias=np.zeros(3, np.int32),
                requant=requant(np.ones(3) / 99))


@pytest.mark.parametrize("kernel, shape, width, passes", [
    ((10, 4), (20, 10, 1), 12, 5),       # 12 + 4 elements: two kernel rows
    ((10, 4), (20, 10, 1), 13, 8),       # 121 elements on end
    ((9, 4), (20, 10, 1), 12, 5),        # the last vector has one row only
    ((3, 1), (5, 3, 2), 3, 1),           # 6 + 6 + 2
    ((3, 3), (5, 3, 2), 3, 2),           # 18 elements on end
    ((5, 5), (5, 5, 3), 5, 5),           # 75 elements on end
    ((5, 5), (6, 5, 3), 8, 5),           # a row of 15 elements and a pitch of 24
])
def test_vectors_cover_several_kernel_rows(kernel, shape, width, passes):
    (plan,) = single(convolution(*kernel, shape[2]), shape, Config(), width)
    assert plan.passes == passes


@pytest.mark.parametrize("kernel, stride, channels, config, rows", [
    (5, 1, 1, Config(), 3),              # 15 of 16 rows, 2 1/3 passes on average
    (5, 2, 1, Config(), 3),
    (3, 1, 1, Config(), 5),
    (3, 2, 1, Config(), 4),              # windows begin at even rows: half of them fit a vector
    (3, 1, 3, Config(), 1),              # 9 elements a row; every window would meet two groups
    (1, 1, 1, Config(), 1),
    (5, 1, 4, Config(), 2),              # 20 elements a row take two vectors, 40 three
    (5, 1, 1, CONFIGS["steps"], 2),      # one channel is stored as two
])
def test_rows_side_by_side(kernel, stride, channels, config, rows):
    """The layout of an input takes the fewest passes."""
    op = replace(convolution(kernel, kernel, channels), stride=(stride, stride))
    size = 24
    results = (size - kernel) // stride + 1
    tensors = {"x": Tensor(name="x", shape=(size, size, channels), scale=1.0, zero_point=3),
               "y": Tensor(name="y", shape=(results, results, 3), scale=1.0, zero_point=0)}
    graph = Graph(name="one", tensors=tensors, ops=[op], inputs=[], outputs=[])
    stored = -(-channels // config.alignment) * config.alignment
    source = interleaved(Map(tensors["x"], Halo(), stored), [Step(op)], graph, config)
    assert source.interleave == rows
    (plan,) = lower_step(Step(op), [source], graph, config)
    assert plan.period == rows // math.gcd(rows, stride)
    assert plan.vectors <= lower_step(
        Step(op), [Map(tensors["x"], Halo(), stored)], graph, config)[0].vectors


@pytest.mark.parametrize("reader", ["pool", "grouped", "dilated", "output"])
def test_other_readers_keep_rows_apart(reader):
    op = convolution(5, 5, 2)
    graph = random_graph(np.random.default_rng(1), layers=0)
    graph.tensors["t0"] = replace(graph.tensors["t0"], shape=(12, 12, 2))
    for name in "yz":
        graph.tensors[name] = replace(graph.tensors["t0"], name=name, shape=(8, 8, 3))
    steps = [Step(replace(op, inputs=("t0",)))]
    source = Map(graph.tensors["t0"], Halo(), 2)
    graph.outputs.clear()
    assert interleaved(source, steps, graph, Config()).interleave > 1
    match reader:
        case "pool":
            steps.append(Step(Pool(name="pool", kind="MaxPool", inputs=("t0",), output="z",
                                   mode="max", kernel=(5, 5))))
        case "grouped":
            steps.append(Step(replace(op, inputs=("t0",), output="z", groups=2,
                                      weights=np.ones((4, 5, 5, 1), np.int8))))
        case "dilated":
            steps.append(Step(replace(op, inputs=("t0",), output="z", dilation=(1, 2))))
        case "output":
            graph.outputs.append(replace(graph.inputs[0], name="again"))
    assert interleaved(source, steps, graph, Config()) == source


@pytest.mark.parametrize("channels, blocks", [(8, 8), (32, 8), (12, None), (4, None)])
def test_average_over_a_whole_map(channels, blocks):
    """All results are one group where the channels form blocks."""
    op = Pool(name="pool", kind="AveragePool", inputs=("x",), output="y", mode="average",
              kernel=(5, 3))
    plans = single(op, (5, 3, channels), Config())
    assert plans[0].blocks == blocks
    if blocks:
        (plan,) = plans
        assert (plan.results, plan.passes, plan.groups) == ((1, channels // 8), 15, 1)


# -- overflow -----------------------------------------------------------------------------------

def plan_of(weights, bias=0, left=0):
    """Return a plan whose only channel has these weights (a multiple of four)."""
    tiles = np.zeros((1, len(weights) // 4, 4, 2), np.int64)
    tiles[0, :, :, 0] = np.reshape(weights, (-1, 4))
    one = np.ones(1, np.int64)
    return Plan(y=Axis(1, 0, 1, 1), x=Axis(1, 0, 1, 1), groups=1, tiles=tiles, channel=6,
                reductions=((Reduction(tiles.shape[1]),),), channels=1,
                parameters=Parameters(bias * one, one << 30, left * one, 0 * one))


def refused(plan, config):
    try:
        plan.checked(config, "conv1")
    except CapacityError:
        return True
    return False


@given(weights=st.lists(st.integers(-128, 127), min_size=24, max_size=48), data=st.data())
def test_accumulators_hold_every_sum(weights, data):
    """Refused exactly if the worst inputs lead out of the accumulator."""
    weights = np.array(weights[:len(weights) // 4 * 4])
    if data.draw(st.booleans()):
        weights = np.sign(weights + 0.5).astype(int) * 127      # near the limit
    most = int(np.where(weights > 0, 127, -128) @ weights)
    least = int(np.where(weights > 0, -128, 127) @ weights)
    assert refused(plan_of(weights), NARROW) == (most >= 1 << 19 or least < -(1 << 19))


def test_last_sum_that_fits():
    assert not refused(plan_of([-128] * 31 + [0]), NARROW)
    with pytest.raises(CapacityError, match=re.escape(
            "conv1: a sum of its 32 products can reach 524288, beyond accumulators of 20 bits; "
            "split the layer or use wider accumulators")):
        plan_of([-128] * 32).checked(NARROW, "conv1")


@pytest.mark.parametrize("left", [0, 1, 7, 15])
@pytest.mark.parametrize("sign", [1, -1])
def test_requantiser_holds_every_sum(left, sign):
    """``(sum + bias) << left`` must fit in 32 bits, on either side."""
    reach = 128 if sign > 0 else 127                 # of one product with the weight -1
    bias = sign * ((1 << 31 - left) - reach)
    with pytest.raises(CapacityError, match="conv1: output channel 6 can reach 2147483648 before "
                                            "rescaling, beyond 32 bits; its scales differ"):
        plan_of([-1, 0, 0, 0], bias, left).checked(WIDE, "conv1")
    assert not refused(plan_of([-1, 0, 0, 0], bias - sign, left), WIDE)


def test_columns_without_channel_do_not_count():
    """What lies beyond the last channel is never written."""
    plan = plan_of([1] * 4)
    plan.tiles[..., 1] = 1 << 20
    plan.checked(NARROW, "conv1")


def test_shared_tiles_count_for_every_group():
    """One tile serves all groups; each has biases of its own."""
    plan = plan_of([1] * 4)
    bias = np.array([0, 0, 0, 1 << 31])
    ones = np.ones(4, np.int64)
    plan = replace(plan, groups=2, channels=4, channel=0,
                   parameters=Parameters(bias, ones << 30, 0 * ones, 0 * ones))
    with pytest.raises(CapacityError, match="output channel 3 can reach 2147483648"):
        plan.checked(WIDE, "conv1")


def test_compiler_refuses_by_name():
    graph = random_graph(np.random.default_rng(0), kinds=("dense",), layers=1, size=12,
                         channels=12, one_dimensional=False)
    config = replace(Config(), accumulator_bits=20)
    weights = np.full((3, *graph.tensors[graph.ops[0].x].shape), -128, np.int8)
    assert weights[0].size >= 32
    op = graph.ops[0]
    outputs = len(op.weights)
    graph.ops[0] = replace(op, weights=np.resize(weights, (outputs, *weights.shape[1:])))
    with pytest.raises(CapacityError, match=f"{op.name}: a sum of its .* accumulators of 20 bits"):
        compile_graph(graph, config)


def test_compiler_refuses_wide_operands():
    graph = random_graph(np.random.default_rng(0), layers=1)
    with pytest.raises(CapacityError, match="int8 networks need operand_bits = 8"):
        compile_graph(graph, Config(operand_bits=16))


@pytest.mark.parametrize("kinds, name", [(("add",), "add0"), (("residual",), "add1")])
def test_compiler_refuses_additions_without_the_unit(kinds, name):
    """Alone or fused with a convolution; the hardware would leave the operand out silently."""
    graph = random_graph(np.random.default_rng(0), kinds=kinds, layers=1)
    with pytest.raises(CapacityError, match=f"{name}: .* has no unit for adding feature maps"):
        compile_graph(graph, Config(residual=False))


@pytest.mark.parametrize("fused", [True, False])
def test_sum_of_wide_operands_is_refused(fused):
    """A 16-bit operand, lifted by 20 bits, does not fit the 32 bits that are rescaled."""
    network = random_graph(np.random.default_rng(3), kinds=("residual",) if fused else ("add",),
                           layers=1)
    step = fuse(network)[-1]
    assert bool(step.add) == fused
    inputs = [network.tensors[name] for name in step.core.inputs]
    sources = [Map(tensor, needed_halo(step, network), tensor.shape[2]) for tensor in inputs]
    assert lower_step(step, sources, network, Config())
    with pytest.raises(CapacityError, match="16 bits, lifted by 20 bits .* can leave 32 bits; add"):
        lower_step(step, sources, network, Config(operand_bits=16))


def test_part_at_a_channel_that_cannot_be_written():
    """Two 8-bit elements share an address of a 16-bit memory."""
    tensors = {name: Tensor(name=name, shape=(2, 2, channels), scale=1.0, zero_point=0)
               for name, channels in (("a", 3), ("b", 2), ("y", 5))}
    concat = Concat(name="join", kind="Concat", inputs=("a", "b"), output="y", axis=2,
                    requant=requant([1, 1]))
    network = Graph(name="odd", tensors=tensors, ops=[concat], inputs=[], outputs=[])
    maps = [Map(tensors[name], Halo(), 4) for name in ("a", "b")]
    with pytest.raises(CapacityError, match="join: its part 1 begins at channel 3, .* even"):
        lower_step(Step(concat), maps, network, CONFIGS["steps"])


def channel_of(multiplier, left, right):
    """Return a plan for the icebreaker whose two channels are alike but for the second's scale."""
    both = plan_of([9, -5, 0, 4] * 8)
    tiles = np.zeros((1, 8, 4, 4), np.int64)
    tiles[..., 0] = tiles[..., 1] = both.tiles[..., 0]
    pair = np.array
    return replace(both, tiles=tiles, channels=2, parameters=Parameters(
        pair([3, 3]), pair([1 << 30, multiplier]), pair([0, left]), pair([8, right])))


@pytest.mark.parametrize("scale", [(1 << 30, 0, 16), (1 << 30, 10, 26), (1 << 30, 9, 0)], ids=str)
def test_scales_of_the_small_requantiser(scale):
    plan = channel_of(*scale)
    assert plan.checked(ICEBREAKER.config, "conv1") is plan


@pytest.mark.parametrize("scale", [(0, 0, 0), (1 << 30, 0, 17), (1 << 30, 2, 31)], ids=str)
def test_channels_that_are_always_zero(scale):
    """The small requantiser does not take them, and does not have to."""
    plan = channel_of(*scale).checked(ICEBREAKER.config, "conv1")
    assert not plan.tiles[..., 1].any() and plan.tiles[..., 0].any()
    assert plan.parameters.bias.tolist() == [3, 0]
    assert plan.parameters.multiplier.tolist() == [1 << 30] * 2
    assert plan.parameters.right.tolist() == [8, 0]


def test_scale_too_small_for_the_small_requantiser():
    plan = channel_of(1 << 30, 0, 17)
    plan = replace(plan, parameters=replace(plan.parameters, bias=np.array([3, 1 << 22])))
    with pytest.raises(CapacityError, match=r"output channel 7 is rescaled by less than a 2\*\*17"):
        plan.checked(ICEBREAKER.config, "conv1")
    assert plan.checked(WIDE, "conv1") is plan
