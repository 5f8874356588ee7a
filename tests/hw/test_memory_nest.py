"""MemoryNest against the addresses that the registers describe."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.isa import ENGINE_REGISTERS, LOAD_LOOPS, POST_LOOPS, Engine
from systolith.hw.memory_nest import MemoryNest
from systolith.sw.nests import LoadNest, Loop, PostNest
from systolith.sw.program_view import NestView, decode
from tests.hw.shallow import SHALLOW

CONFIG = Config(post_lanes=1, **SHALLOW)
POST = MemoryNest(CONFIG, Engine.POST, base="WRITE_BASE", jump="WRITE_JUMP", levels=POST_LOOPS,
                  width=CONFIG.address_bits)
LOAD = MemoryNest(CONFIG, Engine.LOAD, base="BASE", jump="JUMP", levels=LOAD_LOOPS,
                  width=CONFIG.word_address_bits, shift=CONFIG.lane_bits, accumulates=False)


def view(nest):
    """Return the nest as its registers describe it."""
    layouts = ENGINE_REGISTERS[nest.engine]
    words = nest.registers()
    registers = {r.name: decode(r.layout, words.get(i, 0)) for i, r in enumerate(layouts)}
    return NestView(nest.engine, registers, None)


def nests(engine, rng):
    """Return random nests, many of their loops of one or two iterations."""
    lanes = CONFIG.lanes
    for _ in range(12):
        depth = int(rng.integers(1, (POST_LOOPS if engine is Engine.POST else LOAD_LOOPS) + 1))
        counts = [int(rng.choice([1, 1, 2, 2, 3, 5])) for _ in range(depth)]
        base = int(rng.integers(500)) * lanes
        if engine is Engine.LOAD:
            yield LoadNest(base=base, loops=[Loop(n, int(rng.integers(-20, 20)) * lanes)
                                             for n in counts])
        else:
            yield PostNest(base=base + 3, valid=1, zero_point=0, acc_base=int(rng.integers(99)),
                           loops=[Loop(n, int(rng.integers(-50, 50)), int(rng.integers(-5, 5)))
                                  for n in counts])


@pytest.mark.parametrize("dut", [POST, LOAD], ids=["post", "load"])
def test_walks(dut):
    engine = Engine.POST if dut is POST else Engine.LOAD
    rng = np.random.default_rng(3)

    async def walk(ctx, nest):
        for index, word in nest.registers().items():
            ctx.set(dut.set, 1)
            ctx.set(dut.index, index)
            ctx.set(dut.word, word)
            await ctx.tick()
        ctx.set(dut.set, 0)
        for pulse in (dut.prepare, dut.start):
            ctx.set(pulse, 1)
            await ctx.tick()
            ctx.set(pulse, 0)
        expected = view(nest)
        before, after = expected.levels()
        if engine is Engine.POST:
            addresses = expected.track(expected["WRITE_BASE"]["address"], "WRITE_JUMP")
            accs = expected.accumulators() % CONFIG.accumulator_depth
        else:
            addresses = expected.track(expected["BASE"]["address"], "JUMP") // CONFIG.lanes
        addresses %= 1 << dut.width
        for i, address in enumerate(addresses):
            while rng.random() < 0.3:
                ctx.set(dut.step, 0)
                await ctx.tick()
            ctx.set(dut.step, 1)
            assert ctx.get(dut.valid)
            assert (ctx.get(dut.address), ctx.get(dut.from_level), ctx.get(dut.to_level)) == (
                address, before[i], after[i])
            if engine is Engine.POST:
                assert ctx.get(dut.acc) == accs[i]
            await ctx.tick()
        assert not ctx.get(dut.valid)

    async def bench(ctx):
        for nest in nests(engine, rng):
            await walk(ctx, nest)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
