"""The loss unit and its parts against numerics: all exponents, sizes and ways to wait."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.exponential import Exponential
from systolith.hw.latency import EXPONENTIAL_LATENCY, RECIPROCAL_CYCLES, softmax_cycles
from systolith.hw.reciprocal import Reciprocal
from systolith.hw.softmax import Softmax
from systolith.sw.train import numerics

CLASSES = 16


def simulate(dut, *benches):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in benches:
        sim.add_testbench(bench)
    sim.run()


def test_exponential():
    """Distances of one logit to another are all there is to a power."""
    dut, rng = Exponential(), np.random.default_rng(1)

    async def bench(ctx):
        for exponent in range(-26, 6):
            shift = 5 - exponent
            ctx.set(dut.shift, shift)
            log2 = 47274
            most = min(65535, (18 << 10 + shift) // log2 + 1)
            distances = [0, 1, most, 65535, *map(int, rng.integers(0, most + 1, 20))]
            for cycle in range(len(distances) + EXPONENTIAL_LATENCY):
                if cycle < len(distances):
                    ctx.set(dut.scaled, distances[cycle] * log2)
                if cycle >= EXPONENTIAL_LATENCY:
                    scaled = distances[cycle - EXPONENTIAL_LATENCY] * log2
                    u = int(numerics.shift(np.int64(scaled), shift))
                    power = int(numerics.EXP2[u % 1024]) >> min(u // 1024, 16)
                    assert ctx.get(dut.power) == power, (scaled, shift)
                await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("divisor", [1 << 15, (1 << 15) + 1, 327679, (1 << 20) - 1, 1 << 20])
def test_reciprocal(divisor):
    dut = Reciprocal(21)

    async def bench(ctx):
        ctx.set(dut.divisor, divisor)
        for _ in range(2):
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(RECIPROCAL_CYCLES - 1):
                assert not ctx.get(dut.done)
                await ctx.tick()
            assert ctx.get(dut.done)
            assert ctx.get(dut.quotient) == (1 << 46) // divisor
            await ctx.tick().repeat(3)

    simulate(dut, bench)


def samples(exponent, rng):
    """Return logits of a few samples, their sizes mixed, and the labels."""
    spread = min(32767.0, 12 * 2.0 ** -exponent)
    for k in (int(rng.integers(2, CLASSES)), 1, CLASSES):
        logits = np.clip(rng.normal(0, spread / 3 + 1, k), numerics.LOW, numerics.HIGH)
        if rng.random() < 0.3:
            logits[:] = logits[0]
        yield logits.astype(np.int16), int(rng.integers(0, k))


def run(work, exponent, *, offer=1.0, take=1.0, seed=0):
    """Give samples to a loss unit; return the cycles each took."""
    dut = Softmax(CLASSES)
    rng = np.random.default_rng(seed)
    now, begun, ended = 0, [], []

    async def clock(ctx):
        nonlocal now
        while len(ended) < len(work):
            await ctx.tick()
            now += 1

    async def source(ctx):
        ctx.set(dut.shift, 5 - min(exponent, 5))
        for logits, label in work:
            ctx.set(dut.label, label)
            for n, logit in enumerate(logits):
                while rng.random() >= offer:
                    await ctx.tick()
                ctx.set(dut.i.payload, {"value": int(logit), "last": n == len(logits) - 1})
                ctx.set(dut.i.valid, 1)
                cycle = 0
                while not ctx.get(dut.i.ready):
                    await ctx.tick()
                    cycle += 1
                    assert cycle < 1000, "no logit is taken"
                if n == 0:
                    begun.append(now)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
            while len(ended) < len(begun):       # the label stays
                await ctx.tick()

    async def sink(ctx):
        for logits, label in work:
            expected = numerics.cross_entropy(logits[None], exponent, np.array([label]))
            got, last = [], False
            while not last:
                while rng.random() >= take:
                    await ctx.tick()
                ctx.set(dut.o.ready, 1)
                cycle = 0
                while not ctx.get(dut.o.valid):
                    await ctx.tick()
                    cycle += 1
                    assert cycle < 1000, "no gradient comes"
                got.append(ctx.get(dut.o.payload.value))
                last = ctx.get(dut.o.payload.last)
                if last:
                    made_of = (ctx.get(dut.sum), ctx.get(dut.behind), ctx.get(dut.right))
                await ctx.tick()
                ctx.set(dut.o.ready, 0)
            ended.append(now)
            assert got == expected.gradient[0].tolist()
            assert made_of == (expected.sums[0], expected.behind[0], expected.right[0])

    simulate(dut, clock, source, sink)
    return [end - begin for begin, end in zip(begun, ended, strict=True)]


@pytest.mark.parametrize("exponent", range(-26, 8))
def test_equals_numerics(exponent):
    rng = np.random.default_rng(exponent + 50)
    work = list(samples(exponent, rng))
    assert run(work, exponent) == [softmax_cycles(len(logits)) for logits, _ in work]


@pytest.mark.parametrize(("offer", "take"), [(0.3, 1), (1, 0.3), (0.5, 0.5), (1, 0.05)])
def test_waits(offer, take):
    work = [sample for _ in range(2) for sample in samples(-10, np.random.default_rng(3))]
    run(work, -10, offer=offer, take=take, seed=4)
