"""NestWalker against nested Python loops."""

import random

import pytest
from amaranth.sim import Simulator

from systolith.hw.nest import NestWalker


def expected(lasts, base, strides, width):
    """Addresses and levels of a nest, loop 0 innermost."""
    levels = len(lasts)
    counters = [0] * levels
    came_from = levels
    while True:
        step = next((i for i in range(levels) if counters[i] != lasts[i]), levels)
        address = base + sum(n * s for n, s in zip(counters, strides, strict=True))
        yield address % (1 << width), came_from, step
        if step == levels:
            return
        counters[step] += 1
        counters[:step] = [0] * step
        came_from = step


def jumps(lasts, strides):
    return [s - sum(n * t for n, t in zip(lasts[:i], strides[:i], strict=True))
            for i, s in enumerate(strides)]


@pytest.mark.parametrize("seed", range(8))
def test_walks_like_nested_loops(seed):
    rng = random.Random(seed)
    levels, width = rng.choice([1, 3, 6]), 12
    dut = NestWalker(levels=levels, tracks={"a": width})

    async def bench(ctx):
        for _ in range(3):
            lasts = [rng.choice([0, 0, 1, 2, 3]) for _ in range(levels)]
            strides = [rng.randrange(-50, 50) for _ in range(levels)]
            base = rng.randrange(1 << width)
            for i, jump in enumerate(jumps(lasts, strides)):
                ctx.set(dut.last[i], lasts[i])
                ctx.set(dut.jump_a[i], jump)
            ctx.set(dut.base_a, base)
            await ctx.tick()
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert ctx.get(dut.coming) and not ctx.get(dut.valid)
            await ctx.tick()
            for address, came_from, step in expected(lasts, base, strides, width):
                while rng.random() < 0.3:
                    await ctx.tick()
                assert ctx.get(dut.valid)
                assert ctx.get(dut.a) == address
                assert ctx.get(dut.from_level) == came_from
                assert ctx.get(dut.to_level) == step
                ctx.set(dut.step, 1)
                await ctx.tick()
                ctx.set(dut.step, 0)
            assert not ctx.get(dut.valid)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
