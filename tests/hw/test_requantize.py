"""Requantize against numerics, on random values and on every kind of tie."""

import numpy as np
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.requantize import Requantize
from systolith.sw import numerics


def cases():
    rng = np.random.default_rng(7)
    for _ in range(1500):
        left, right = int(rng.integers(0, 16)), int(rng.integers(0, 32))
        bits = int(rng.integers(1, 32 - left + 1))
        x = int(rng.integers(-(1 << bits - 1), 1 << bits - 1))
        yield x, int(rng.integers(0, 1 << 31)), left, right
    for right in range(1, 32):                                   # exact ties, both signs
        for odd in (1, 3, 5):
            tie = odd << right - 1
            if tie < 1 << 30:
                yield from ((s * tie, 1 << 30, 1, right) for s in (1, -1))
    for x in (-(1 << 31), (1 << 31) - 1, 0, -1, 1):
        for m in (0, 1, 1 << 30, (1 << 31) - 1):
            yield from ((x, m, 0, r) for r in (0, 1, 31))


def test_equals_numerics():
    dut = Requantize(Config())
    inputs = list(cases())
    expected = [int(numerics.requantize(*case)) for case in inputs]

    async def bench(ctx):
        for cycle in range(len(inputs) + dut.latency):
            if cycle < len(inputs):
                x, multiplier, left, right = inputs[cycle]
                ctx.set(dut.x, x)
                ctx.set(dut.multiplier, multiplier)
                ctx.set(dut.left, left)
                ctx.set(dut.right, right)
            if cycle >= dut.latency:
                done = cycle - dut.latency
                assert ctx.get(dut.y) == expected[done], inputs[done]
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
