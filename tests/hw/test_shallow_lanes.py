"""ShallowLanes and SerialProduct against numerics: every kind of tie and saturation."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.latency import PRODUCT_CYCLES, STEP_CYCLES, post_latency
from systolith.hw.serial_product import PRODUCT_LOST, SerialProduct
from systolith.hw.shallow_lanes import ShallowLanes
from systolith.sw import numerics
from tests.hw.shallow import SHALLOW
from tests.hw.test_requantize import cases

#: Zero point and bounds, in parts of the operands' range.
CLAMPS = [(0, -1, 1), (1, -1, 1), (-1, -1, 1), (0.5, 0.25, 0.75), (-0.25, -1, 0)]


def config(bits, sums=32):
    return Config(rows=4, columns=4, post_lanes=1, operand_bits=bits, frame_bytes=64,
                  accumulator_bits=sums, **SHALLOW)


def allowed():
    """Yield the cases this lane takes: normalised factors, shifts as the compiler admits them."""
    rng = np.random.default_rng(8)
    for x, multiplier, left, right in cases():
        if multiplier < 1 << 30:
            multiplier = int(rng.integers(1 << 30, 1 << 31))
        yield max(x, 1 - (1 << 31)), multiplier, left, min(right, 16 + left)
    for left in range(1, 16):                    # ties of the second rounding alone
        for right in range(1, 17):
            yield from ((sign * (odd << right >> 1), 1 << 30, left, left + right - 1)
                        for sign in (1, -1) for odd in (1, 3))


def answer(case, zero, low, high):
    """Return the element a sum becomes."""
    return int(np.clip(numerics.requantize(*case) + zero, low, high))


def clamp(bits, parts):
    """Return zero point and bounds as elements."""
    unit = 1 << bits - 1
    return tuple(min(int(part * unit), unit - 1) for part in parts)


def rescale(ctx, dut, bias, multiplier, left, right):
    """Give the lane a channel's parameters."""
    fields = {"less": bias - 1, "factor": multiplier, "left": left,
              "shift": right - left + PRODUCT_LOST, "twice": right != 0}
    for name, value in fields.items():
        ctx.set(getattr(dut.parameters, name), value)


def simulate(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("bits", [24, 32])
def test_products(bits):
    """All sizes and both signs; 0 counts as negative."""
    dut = SerialProduct(bits)
    rng = np.random.default_rng(bits)
    top = (1 << bits - 1) - 1
    sums = [0, 1, -1, top, -top] + [int(rng.integers(-(1 << k), 1 << k)) for k in range(bits - 1)]
    factors = [(1 << 31) - 1, 1, 1 << 30] + [int(f) for f in rng.integers(1, 1 << 31, 3)]

    async def bench(ctx):
        for x in sums:
            for factor in factors:
                ctx.set(dut.less, x - 1)
                ctx.set(dut.factor, factor)
                ctx.set(dut.start, 1)
                await ctx.tick()
                ctx.set(dut.start, 0)
                await ctx.tick().repeat(PRODUCT_CYCLES - 1)
                product = x * factor >> PRODUCT_LOST
                assert ctx.get(dut.negative) == (x <= 0)
                assert ctx.get(dut.size) == (~product if x <= 0 else product), (x, factor)

    simulate(dut, bench)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("parts", CLAMPS, ids=str)
def test_equals_numerics(bits, parts):
    """Sum and bias are a random split."""
    c = config(bits)
    dut = ShallowLanes(c)
    zero, low, high = clamp(bits, parts)
    inputs = list(allowed())[CLAMPS.index(parts)::len(CLAMPS)]
    latency = post_latency(c)

    async def bench(ctx):
        ctx.set(dut.zero, zero)
        ctx.set(dut.low, low)
        ctx.set(dut.high, high)
        ctx.set(dut.column, 1)
        for case in inputs:                      # parameters are static while a step passes
            x, *scale = case
            rescale(ctx, dut, x // 3, *scale)
            ctx.set(dut.drained[1], x - x // 3)
            for name in ("start", "first", "last"):
                ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.valid)
            await ctx.tick().repeat(latency - 1)
            assert ctx.get(dut.valid)
            assert ctx.get(dut.data[0]) == answer(case, zero, low, high), case
            await ctx.tick()

    simulate(dut, bench)


def test_steps_as_close_as_can_be():
    """Windows of random length."""
    c = config(8, sums=24)
    dut = ShallowLanes(c)
    rng = np.random.default_rng(1)
    windows = [[int(x) for x in rng.integers(-3000, 3000, rng.integers(1, 5))] for _ in range(40)]
    scale = (-7, 3 << 29, 1, 5)
    steps = [(x, i == 0, i == len(window) - 1) for window in windows for i, x in enumerate(window)]
    expected = [max(answer((x + scale[0], *scale[1:]), 0, -128, 127) for x in window)
                for window in windows]
    got = []

    async def bench(ctx):
        ctx.set(dut.low, -128)
        ctx.set(dut.high, 127)
        rescale(ctx, dut, *scale)
        for cycle in range(STEP_CYCLES * len(steps) + post_latency(c) + 1):
            number, wait = divmod(cycle, STEP_CYCLES)
            starts = not wait and number < len(steps)
            ctx.set(dut.start, starts)
            if starts:
                _, first, last = steps[number]
                ctx.set(dut.first, first)
                ctx.set(dut.last, last)
            before = (cycle - 1) // STEP_CYCLES  # a cycle after its address
            ctx.set(dut.drained[0], steps[min(max(before, 0), len(steps) - 1)][0])
            if ctx.get(dut.valid):
                got.append(ctx.get(dut.data[0]))
            await ctx.tick()

    simulate(dut, bench)
    assert got == expected
