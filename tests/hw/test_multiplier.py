"""Multipliers: portable forms in Amaranth's simulator, primitives with models of their cells."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Cat, Fragment, Instance, Module, Mux, Signal, signed, unsigned
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from systolith.boards.targets import find_config
from systolith.hw.array import SystolicArray
from systolith.hw.carry import add, add_and_invert, add_one_of, multiply_on_carries
from systolith.hw.cluster_array import ClusterArray
from systolith.hw.latency import WIDE_STAGES
from systolith.hw.multiplier import delayed, multiply_array, multiply_held, multiply_wide
from systolith.hw.requantize import Requantize
from systolith.hw.shallow_array import ShallowArray
from systolith.hw.shallow_lanes import ShallowLanes
from tests.hw.primitives import (
    ECP5,
    GOWIN,
    ICE40,
    ccu2c,
    gowin_mult,
    mult18x18d,
    sb_carry,
    sb_mac16,
    wrong_jobs,
)


def corners(shape):
    """Return the values of a shape at which multipliers go wrong."""
    low = -(1 << shape.width - 1) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    middle = [v for v in (low // 2, -2, -1, 0, 1, 2, high // 2, high // 2 + 1) if low <= v <= high]
    return sorted({low, low + 1, high - 1, high, *middle})


def pairs(a, b, extra, seed):
    """Return pairs of values: all corners with all corners, and ``extra`` random ones."""
    rng = np.random.default_rng(seed)
    values = []
    for shape in (a, b):
        low = -(1 << shape.width - 1) if shape.signed else 0
        values.append(rng.integers(low, low + (1 << shape.width), extra).tolist())
    return [*itertools.product(corners(a), corners(b)), *zip(*values, strict=True)]


@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("kind", ["lut", "dsp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_portable(bits, kind, stages):
    """Products of corners and of random values, in every cycle, against Python."""
    shape = signed(bits)
    cases = pairs(shape, shape, 500, bits)
    m = Module()
    a, b, take = Signal(shape), Signal(shape), Signal()
    product, = multiply_array(m, None, [(a, b, take)], kind=kind, stages=stages, name="mac")
    takes = [True, *(np.random.default_rng(bits).random(len(cases) - 1) < 0.7).tolist()]
    exact, kept = [], None
    for (x, y), taken in zip(cases, takes, strict=True):
        kept = y if taken else kept
        exact.append(x * kept)

    async def bench(ctx):
        for cycle in range(len(cases) + stages):
            if cycle >= stages:
                assert ctx.get(product) == exact[cycle - stages], cases[cycle - stages]
            if cycle < len(cases):
                ctx.set(a, cases[cycle][0])
                ctx.set(b, cases[cycle][1])
                ctx.set(take, takes[cycle])
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@dataclass(frozen=True)
class Job:
    """Pairs to multiply, ``lanes`` of them every cycle, and how."""

    name: str
    shapes: tuple
    stages: int
    #: Takes a module and pairs of values, returns their products, ``stages`` later.
    multiply: Callable
    lanes: int = 1

    def build(self, m, count, finished):
        """Run the multipliers against ``*``; return a bit that stays set once they differ."""
        values = pairs(*self.shapes, 60, 1)
        width = sum(shape.width for shape in self.shapes)
        words = [sum(self._pack(values[(i + 7 * lane) % len(values)]) << lane * width
                     for lane in range(self.lanes)) for i in range(len(values))]
        m.submodules[self.name] = memory = Memory(shape=unsigned(width * self.lanes),
                                                  depth=len(words), init=words)
        port = memory.read_port(domain="comb")
        m.d.comb += port.addr.eq(count)
        operands, wrong = [], Signal(name=f"{self.name}_wrong")
        for lane in range(self.lanes):
            pair = tuple(Signal(shape, name=f"{self.name}_operand{lane}") for shape in self.shapes)
            m.d.comb += Cat(pair).eq(port.data.word_select(lane, width))
            operands.append(pair)
        for pair, product in zip(operands, self.multiply(m, operands), strict=True):
            right = delayed(m, pair[0] * pair[1], self.stages, f"{self.name}_right")
            with m.If((count >= self.stages) & ~finished & (product != right)):
                m.d.sync += wrong.eq(1)
        return wrong

    def _pack(self, pair):
        (a, b), (first, second) = self.shapes, pair
        return first & (1 << a.width) - 1 | (second & (1 << b.width) - 1) << a.width


def array_job(platform, bits, lanes, stages, kind="dsp"):
    """Of lanes side by side each takes second operands in cycles of its own."""
    name = f"{kind}_{bits}_{lanes}_{stages}"

    def multiply(m, operands):
        cycle = Signal(3, name=f"{name}_cycle")
        m.d.sync += cycle.eq(cycle + 1)
        operands = [(a, b, ((cycle + lane) & 3) != 0) for lane, (a, b) in enumerate(operands)]
        products = multiply_array(m, platform, operands, kind=kind, stages=stages, name=name)
        return [_kept_job(m, operand, product, stages, f"{name}_{lane}")
                for lane, (operand, product) in enumerate(zip(operands, products, strict=True))]

    return Job(name, (signed(bits), signed(bits)), stages, multiply, lanes)


def _kept_job(m, operand, product, stages, name):
    """Return the product of the operands of now, unless that of the kept one is wrong."""
    a, b, take = operand
    before, kept = (Signal.like(b, name=f"{name}_{kind}") for kind in ("before", "kept"))
    m.d.sync += before.eq(kept)
    m.d.comb += kept.eq(Mux(take, b, before))
    return delayed(m, a * b, stages, f"{name}_now") ^ (
        product != delayed(m, a * kept, stages, f"{name}_exact"))


def held_job(platform, bits, lanes):
    """Every other second operand is taken; a right answer is where the portable form agrees."""
    name = f"held_{bits}_{lanes}"

    def multiply(m, operands):
        take = Signal(name=f"{name}_take")
        m.d.sync += take.eq(~take)
        held, portable = (multiply_held(m, where, operands, take=take, name=f"{name}_{i}")
                          for i, where in enumerate((platform, None)))
        return [delayed(m, a * b, 2, f"{name}_exact") ^ (x != y)
                for (a, b), x, y in zip(operands, held, portable, strict=True)]

    return Job(name, (signed(bits), signed(bits)), 2, multiply, lanes)


def adding_job(platform, bits):
    """A signed and an unsigned operand; a right answer is where the portable form agrees."""
    def multiply(m, operands):
        invert = Signal(name=f"invert_{bits}")
        m.d.sync += invert.eq(~invert)
        (a, b), = operands
        sums, portable = (add_and_invert(m, where, a, b, invert, bits=bits, name=f"{name}_{i}")
                          for i, where in enumerate((platform, None)))
        return [a * b ^ (sums != portable)]

    name = f"adding_{bits}"
    return Job(name, (signed(8), unsigned(7)), 0, multiply)


def wide_job(platform, a, b):
    name = f"wide_{a.width}{'su'[not a.signed]}_{b.width}{'su'[not b.signed]}"
    return Job(name, (a, b), WIDE_STAGES,
               multiply=lambda m, operands: [multiply_wide(m, platform, *operands[0], name=name)])


def wide_jobs(platform, bits):
    shapes = signed(bits), unsigned(bits), signed(bits - 3), unsigned(bits - 1)
    return [wide_job(platform, a, b) for a, b in itertools.product(shapes, repeat=2)]


def sum_job(platform, a, b):
    """A sum that has to be right: it is compared beside a product that is."""
    name = f"sum_{a}_{b}"

    def add_up(m, operands):
        (x, y), = operands
        total = add(m, platform, x, y, bits=max(a, b) + 1, name=name)
        return [delayed(m, x * y ^ (total != x + y), 1, f"{name}_exact")]

    return Job(name, (signed(a), signed(b)), 1, add_up)


def choice_job(platform, bits):
    """A sum with one of two, chosen in turns, compared in the same way."""
    name = f"choice_{bits}"

    def add_up(m, operands):
        choose, late = Signal(name=f"{name}_choose"), Signal(signed(bits), name=f"{name}_late")
        (x, y), = operands
        m.d.sync += [choose.eq(~choose), late.eq(x + y)]
        total = add_one_of(m, platform, x, choose, y, late, bits=bits, name=name)
        return [delayed(m, x * y ^ (total != (x + Mux(choose, y, late))[:bits].as_signed()), 1,
                        f"{name}_exact")]

    return Job(name, (signed(bits - 8), signed(bits - 1)), 1, add_up)


#: A job that is wrong, so that the test can tell.
MISTAKEN = Job("mistaken", (signed(8), signed(8)), 3,
               lambda m, operands: [delayed(m, a * b + (a == -128), 3, "late")
                                    for a, b in operands])


@pytest.mark.slow
def test_ecp5_primitives():
    jobs = [array_job(ECP5, bits, 2, stages) for bits in (8, 16) for stages in (3, 4)]
    assert wrong_jobs([*jobs, *wide_jobs(ECP5, 18), MISTAKEN], mult18x18d()) == ["mistaken"]


@pytest.mark.slow
def test_ecp5_carry_chains():
    jobs = [array_job(ECP5, bits, 1, stages, "lut") for bits in (8, 16) for stages in (3, 4)]
    # chains that fill their tiles, and those that leave their ends to LUTs
    jobs += [sum_job(ECP5, a, b) for a, b in ((7, 3), (7, 7), (8, 8), (9, 9), (5, 9), (16, 16),
                                              (16, 17), (17, 12), (20, 20))]
    jobs += [choice_job(ECP5, bits) for bits in (16, 18, 24)]
    assert wrong_jobs([*jobs, MISTAKEN], ccu2c()) == ["mistaken"]


@pytest.mark.slow
def test_gowin_primitives():
    jobs = [array_job(GOWIN, bits, 2, stages) for bits in (8, 16) for stages in (3, 4)]
    jobs += [held_job(GOWIN, bits, 2) for bits in (8, 16)]
    model = gowin_mult(9) + gowin_mult(18)
    assert wrong_jobs([*jobs, *wide_jobs(GOWIN, 18), MISTAKEN], model) == ["mistaken"]


@pytest.mark.slow
def test_ice40_primitives():
    jobs = [array_job(ICE40, 8, lanes, stages) for lanes in (2, 3) for stages in (3, 4)]
    jobs += [held_job(ICE40, 8, lanes) for lanes in (2, 3)]
    assert wrong_jobs([*jobs, *wide_jobs(ICE40, 16), MISTAKEN], sb_mac16()) == ["mistaken"]


@pytest.mark.slow
def test_ice40_carry_chains():
    jobs = [adding_job(ICE40, bits) for bits in (8, 9, 10)]
    assert wrong_jobs([*jobs, MISTAKEN], sb_carry()) == ["mistaken"]


def primitives(fragment):
    """Yield the type of every primitive in a design."""
    if isinstance(fragment, Instance):
        yield fragment.type
    for child, *_ in fragment.subfragments:
        yield from primitives(child)


def test_a_product_on_carry_chains_is_small():
    """Two LUTs a CCU2C: six chains of a tile, and one of twelve LUTs."""
    m = Module()
    multiply_on_carries(m, ECP5, Signal(signed(8)), Signal(signed(8)), 1, name="product")
    assert 2 * Counter(primitives(Fragment.get(m, ECP5)))["CCU2C"] == 60


def test_a_cell_adds_and_inverts():
    m = Module()
    add_and_invert(m, ICE40, Signal(signed(8)), Signal(8), Signal(), bits=9, name="sum")
    assert Counter(primitives(Fragment.get(m, ICE40))) == {"SB_LUT4": 9, "SB_CARRY": 8}


@pytest.mark.parametrize(("name", "platform", "cell", "used", "available"), [
    ("ulx3s-85f", ECP5, "MULT18X18D", 128 + 8 * 3, 156),
    ("ulx3s-85f-mixed", ECP5, "MULT18X18D", 5 * 24 + 8 * 4, 156),
    ("orangecrab-25f", ECP5, "MULT18X18D", 16 + 4 * 3, 28),
    ("icebreaker", ICE40, "SB_MAC16", 8, 8)])
def test_dsp_budget(name, platform, cell, used, available):
    """Array and requantisers of a board leave room among the DSPs of its part."""
    c = find_config(name)
    array = ShallowArray if c.shallow else ClusterArray if c.clustered else SystolicArray
    blocks = [array(c), *([ShallowLanes(c)] if c.shallow else
                          (Requantize(c) for _ in range(c.post_lanes)))]
    counts = Counter(kind for block in blocks for kind in primitives(Fragment.get(block, platform)))
    assert counts[cell] == used <= available
