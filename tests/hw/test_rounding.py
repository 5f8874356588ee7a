"""Rounder against numerics.finish: ties, both ends of every range, all shifts."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.latency import OFFSET_AGE, ROUNDING_LATENCY
from systolith.hw.rounding import Rounder
from systolith.sw.train import numerics

BITS = numerics.ACCUMULATOR_BITS


def sums(right, left, operands, rng):
    """Return sums whose results lie on both sides of everything that matters."""
    step, count = 1 << right, len(operands)
    around = rng.choice([numerics.LOW, numerics.HIGH, 0, 1 << 16, -1 << 16, 1 << 19, -1 << 19],
                        count) + rng.integers(-3, 4, count)
    results = around * step + rng.choice([0, step >> 1, -(step >> 1), 1, -1], count)
    wild = rng.integers(-1 << BITS - 1, 1 << BITS - 1, count) >> rng.integers(0, BITS, count)
    addends = operands.astype(np.int64) << left
    chosen = np.where(rng.random(count) < 0.6, results - addends, wild)
    limit = (1 << BITS - 1) - (1 << 15 + left)   # neither sum nor total leaves the accumulator
    return np.clip(chosen, -limit, limit - 1)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("stochastic", [False, True])
def test_equals_numerics(rectify, stochastic):
    dut = Rounder(BITS)
    rng = np.random.default_rng(2 * rectify + stochastic)

    async def bench(ctx):
        ctx.set(dut.rectify, rectify)
        for right in range(numerics.MAX_SHIFT + 1):
            left, count = int(rng.integers(0, 32)), 48
            operands = rng.integers(numerics.LOW, numerics.HIGH + 1, count).astype(np.int16)
            values = sums(right, left, operands, rng)
            zero = rng.random(count) < 0.1
            random = rng.integers(0, 1 << 16, count).astype(np.uint16)
            random[:2] = 0, (1 << 16) - 1
            offsets = random if stochastic else np.full(count, 1 << 15)
            ctx.set(dut.left, left)
            ctx.set(dut.right, right)
            for cycle in range(count + ROUNDING_LATENCY):
                if cycle < count:
                    ctx.set(dut.sum, int(values[cycle]))
                    ctx.set(dut.operand, int(operands[cycle]))
                    ctx.set(dut.zero, int(zero[cycle]))
                if 0 <= cycle - OFFSET_AGE < count:
                    ctx.set(dut.offset, int(offsets[cycle - OFFSET_AGE]))
                done = cycle - ROUNDING_LATENCY
                if done >= 0:
                    total = values[done:done + 1] + (operands[done:done + 1].astype(int) << left)
                    y, measured = numerics.finish(
                        total, right, random=random[done:done + 1] if stochastic else None,
                        rectify=rectify, mask=~zero[done:done + 1])
                    got = ctx.get(dut.y), ctx.get(dut.saturated)
                    assert got == (int(y[0]), measured.saturated), (total, left, right)
                await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
