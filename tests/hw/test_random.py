"""Random against numerics.draw, with keys and turns of every kind."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.latency import RANDOM_LATENCY
from systolith.hw.random import Random
from systolith.sw.train import numerics


@pytest.mark.parametrize(("seed", "turn"), [(0, 0), (0xFFFFFFFF, 255), (0x12345678, 3),
                                            (0x80000001, 128)])
def test_equals_numerics(seed, turn):
    dut = Random()
    rng = np.random.default_rng(seed)
    places = [0, 1, (1 << 24) - 1, 1 << 16, *map(int, rng.integers(0, 1 << 24, 200))]
    expected = numerics.draw(np.array(places, np.uint32), seed, turn).tolist()
    numbers = []

    async def bench(ctx):
        ctx.set(dut.seed, seed)
        ctx.set(dut.turn, turn)
        for cycle in range(len(places) + RANDOM_LATENCY):
            if cycle < len(places):
                ctx.set(dut.place, places[cycle])
            if cycle >= RANDOM_LATENCY:
                numbers.append(ctx.get(dut.number))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert numbers == expected
