"""Nests: what the encoded registers make an engine visit is what the strides say."""

from itertools import product

import numpy as np
import pytest

from systolith.hw import isa
from systolith.hw.config import Config
from systolith.hw.isa import Engine, Relocate, register_index
from systolith.sw.assembler import assemble
from systolith.sw.nests import LoadNest, Loop, PostNest, ResidualAdd, StreamNest, Token
from systolith.sw.program_view import instructions

CONFIG = Config()
ADDITION = ResidualAdd(base=77, zero_point=-3, operand=(3 << 29, 5), scales_residual=True,
                       sum=(1 << 30, 6), sum_zero_point=-9, low=-100, high=101)


def stream(**fields):
    return StreamNest(**{"base": 0, "loops": [], "pass_level": 2, "group_level": 3} | fields)


def post(**fields):
    return PostNest(**{"base": 0, "loops": [], "valid": 8, "zero_point": 0} | fields)


def decoded(nest):
    """Return a nest as an engine gets it: through the assembler and back."""
    go = [i for i in instructions(assemble([nest], CONFIG)) if i.nest]
    assert len(go) == 1
    return go[0].nest


def random_loops(rng, depth):
    """Up to ``depth`` loops, often of one iteration, of few iterations in all."""
    return [Loop(int(rng.choice([1, 2, 3, 4])), *(int(n) for n in rng.integers(-300, 300, 3)))
            for _ in range(rng.integers(0, depth + 1))]


def visits(base, loops, name):
    """Return base + sum(index * stride) of every iteration, loop 0 innermost."""
    ranges = [range(loop.count) for loop in reversed(loops)]
    strides = [getattr(loop, name) for loop in reversed(loops)]
    return [base + sum(i * s for i, s in zip(index, strides, strict=True))
            for index in product(*ranges)]


@pytest.mark.parametrize("seed", range(30))
def test_walk_follows_the_strides(seed):
    rng = np.random.default_rng(seed)
    base, acc, residual = (int(n) for n in rng.integers(0, 4096, 3))
    loops = random_loops(rng, 3)
    view = decoded(LoadNest(base=base, loops=loops))
    assert view.track(view["BASE"]["address"], "JUMP").tolist() == visits(base, loops, "stride")

    loops = random_loops(rng, 6)
    view = decoded(stream(base=base, loops=loops, acc_base=acc))
    assert view.track(view["BASE"]["address"], "JUMP").tolist() == visits(base, loops, "stride")
    assert view.accumulators().tolist() == visits(acc, loops, "acc")

    view = decoded(post(base=base, loops=loops, acc_base=acc, add=ResidualAdd(
        base=residual, zero_point=0, operand=(0, 0), scales_residual=False, sum=(0, 0),
        sum_zero_point=0, low=0, high=0)))
    assert view.track(view["WRITE_BASE"]["address"], "WRITE_JUMP").tolist() == visits(
        base, loops, "stride")
    assert view.track(view["RESIDUAL_BASE"]["address"], "RESIDUAL_JUMP").tolist() == visits(
        residual, loops, "residual")
    assert view.accumulators().tolist() == visits(acc, loops, "acc")
    assert len(view.levels()[0]) == post(loops=loops).iterations


def test_loop_of_one_iteration_never_jumps():
    """Its stride may be anything: it must not need a field, nor disturb the loops outside."""
    view = decoded(LoadNest(base=5, loops=[Loop(1, 1 << 40), Loop(3, 10), Loop(1, -(1 << 40))]))
    assert view.track(5, "JUMP").tolist() == [5, 15, 25]


def test_stream_settings():
    view = decoded(stream(loops=[Loop(2), Loop(2)], pass_level=1, group_level=4, acc_base=9,
                          keep=True, hold=True, window=(3, 2, 4, 1),
                          token=Token(Engine.POST, 700)))
    control = view["CONTROL"]
    assert view.token == (Engine.POST, 700)
    assert {name: control[name] for name in (
        "acc_base", "pass_level", "group_level", "keep", "hold", "window", "window_rows",
        "window_columns", "stride_y", "stride_x")} == {
            "acc_base": 9, "pass_level": 1, "group_level": 4, "keep": 1, "hold": 1, "window": 1,
            "window_rows": 2, "window_columns": 1, "stride_y": 3, "stride_x": 0}
    plain = decoded(stream())["CONTROL"]
    assert not (plain["window"] or plain["keep"] or plain["hold"] or decoded(stream()).token)


def test_post_settings():
    view = decoded(post(group_level=3, pool_level=2, acc_base=11, params=640, valid=5,
                        zero_point=-7, low=-50, high=60, add=ADDITION))
    control = view["CONTROL"]
    assert {name: control[name] for name in ("acc_base", "group_level", "pool_level", "fill",
                                             "residual", "reload", "valid")} == {
        "acc_base": 11, "group_level": 3, "pool_level": 2, "fill": 0, "residual": 1, "reload": 1,
        "valid": 5}
    assert view["PARAM_BASE"]["address"] == 640
    assert view["BOUNDS"] == {"low": -50, "high": 60}
    assert view["ZEROS"] == {"result": -7, "residual": -3}
    assert view["RESIDUAL_BASE"]["address"] == 77
    assert [view[name]["multiplier"] for name in ("ADD_OPERAND", "ADD_SUM")] == [3 << 29, 1 << 30]
    scale = view["ADD_SCALE"]
    assert (scale["operand_shift"], scale["scales_residual"], scale["sum_shift"],
            scale["zero_point"]) == (5, 1, 6, -9)
    assert view["ADD_BOUNDS"] == {"low": -100, "high": 101}


def test_plain_post_leaves_the_addition_alone():
    """Registers only an addition reads are not written without one, so they cost no words."""
    names = {isa.ENGINE_REGISTERS[Engine.POST][i].name for i in post().registers()}
    assert not {name for name in names if name.startswith("ADD_") or name == "RESIDUAL_BASE"}
    control = decoded(post(fill=True))["CONTROL"]
    assert (control["fill"], control["reload"], control["residual"]) == (1, 0, 0)


def test_relocations():
    assert LoadNest(base=0, loops=[]).relocations() == {0: Relocate.NONE}
    assert stream(relocate=Relocate.INPUT).relocations() == {
        register_index(Engine.STREAM, "BASE"): Relocate.INPUT}
    add = ResidualAdd(base=0, zero_point=0, operand=(0, 0), scales_residual=False, sum=(0, 0),
                      sum_zero_point=0, low=0, high=0, relocate=Relocate.INPUT)
    assert post(relocate=Relocate.OUTPUT, add=add).relocations() == {
        register_index(Engine.POST, "WRITE_BASE"): Relocate.OUTPUT,
        register_index(Engine.POST, "RESIDUAL_BASE"): Relocate.INPUT}


@pytest.mark.parametrize("nest, most", [
    (LoadNest(base=0, loops=[Loop(1)] * 4), 3),
    (stream(loops=[Loop(1)] * 7), 6),
    (post(loops=[Loop(1)] * 7), 6),
], ids=["load", "stream", "post"])
def test_too_many_loops(nest, most):
    message = f"a {nest.engine.name} nest has at most {most} loops, not {len(nest.loops)}"
    with pytest.raises(ValueError, match=message):
        nest.registers()


@pytest.mark.parametrize("nest, field", [
    (LoadNest(base=1 << 24, loops=[]), "Address.address = 16777216"),
    (LoadNest(base=-1, loops=[]), "Address.address = -1"),
    (stream(loops=[Loop((1 << 16) + 1)]), "Loop.last = 65536"),
    (stream(loops=[Loop(0)]), "Loop.last = -1"),
    (stream(loops=[Loop(2, 1 << 23)]), "Jump.jump = 8388608"),
    (stream(loops=[Loop(3, 1 << 22), Loop(2, -1)]), "Jump.jump = -8388609"),
    (stream(loops=[Loop(2, acc=1 << 15)]), "Loop.acc_jump = 32768"),
    (stream(acc_base=4096), "StreamControl.acc_base = 4096"),
    (stream(window=(5, 1, 1, 1)), "StreamControl.window_rows = 4"),
    (stream(window=(1, 1, 5, 1)), "StreamControl.stride_y = 4"),
    (post(valid=64), "PostControl.valid = 64"),
    (post(low=-(1 << 15) - 1), "Bounds.low = -32769"),
    (post(zero_point=1 << 15), "ZeroPoints.result = 32768"),
    (post(loops=[Loop(2, residual=1 << 23)]), "Jump.jump = 8388608"),
], ids=lambda value: value.split(" ")[0] if isinstance(value, str) else "")
def test_number_that_does_not_fit(nest, field):
    with pytest.raises(ValueError, match=f"{field} is outside"):
        nest.registers()
