"""ShallowLanes against numerics: every kind of tie and saturation, and the maximum."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Cat, Fragment, Signal, signed
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.latency import post_latency
from systolith.hw.multiplier import delayed
from systolith.hw.shallow_lanes import ShallowLanes
from systolith.sw import numerics
from tests.hw.primitives import GOWIN, ICE40, gowin_mult, sb_mac16, wrong_jobs
from tests.hw.shallow import SHALLOW
from tests.hw.test_requantize import cases

#: Zero point and bounds, in parts of the operands' range.
CLAMPS = [(0, -1, 1), (1, -1, 1), (-1, -1, 1), (0.5, 0.25, 0.75), (-0.25, -1, 0)]


def config(bits):
    return Config(rows=2, columns=2, post_lanes=1, operand_bits=bits, frame_bytes=64, **SHALLOW)


def answer(case, zero, low, high):
    """Return the element a sum becomes."""
    return int(np.clip(numerics.requantize(*case) + zero, low, high))


def clamp(bits, parts):
    """Return zero point and bounds as elements."""
    unit = 1 << bits - 1
    return tuple(min(int(part * unit), unit - 1) for part in parts)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("parts", CLAMPS, ids=str)
def test_equals_numerics(bits, parts):
    """The bias takes what an accumulator does not: sum and bias are a random split."""
    c = config(bits)
    dut = ShallowLanes(c)
    zero, low, high = clamp(bits, parts)
    inputs = list(cases())[CLAMPS.index(parts)::len(CLAMPS)]
    latency = post_latency(c)

    async def bench(ctx):
        ctx.set(dut.zero, zero)
        ctx.set(dut.low, low)
        ctx.set(dut.high, high)
        for case in inputs:                      # parameters are static while a step passes
            x, multiplier, left, right = case
            for name, value in (("bias", x // 3), ("multiplier", multiplier), ("left", left),
                                ("right", right)):
                ctx.set(getattr(dut.parameters[1], name), value)
            ctx.set(dut.drained[1], x - x // 3)
            for name in ("start", "first", "last", "step"):
                ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.valid)
            await ctx.tick().repeat(latency - 1)
            assert ctx.get(dut.valid)
            assert ctx.get(dut.data[0]) == answer(case, zero, low, high), case
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_a_step_every_cycle():
    """Both columns in turn, each with its own parameters; windows of random length."""
    c = config(8)
    dut = ShallowLanes(c)
    rng = np.random.default_rng(1)
    windows = [int(rng.integers(1, 5)) for _ in range(40)]
    sums = [[int(x) for x in rng.integers(-3000, 3000, n)] for n in windows]
    scales = [(5, 1 << 30, 0, 3), (-7, 3 << 29, 1, 5)]
    steps = [(k % 2, x, i == 0, i == len(window) - 1)
             for k, window in enumerate(sums) for i, x in enumerate(window)]
    expected = [max(answer((x + scales[k % 2][0], *scales[k % 2][1:]), 0, -128, 127)
                    for x in window) for k, window in enumerate(sums)]
    got = []

    async def bench(ctx):
        ctx.set(dut.low, -128)
        ctx.set(dut.high, 127)
        for column, values in enumerate(scales):
            for name, value in zip(("bias", "multiplier", "left", "right"), values, strict=True):
                ctx.set(getattr(dut.parameters[column], name), value)
        for cycle in range(len(steps) + post_latency(c) + 1):
            running = cycle < len(steps)
            ctx.set(dut.start, running)
            if running:
                column, _, first, last = steps[cycle]
                ctx.set(dut.step, column)
                ctx.set(dut.first, first)
                ctx.set(dut.last, last)
            if 0 < cycle <= len(steps):          # one cycle after its address
                column, x, _, _ = steps[cycle - 1]
                ctx.set(dut.drained[column], x)
            if ctx.get(dut.valid):
                got.append(ctx.get(dut.data[0]))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got == expected


@dataclass(frozen=True)
class Job:
    """A lane made of a family's primitives, against numerics."""

    name: str
    platform: SimpleNamespace
    bits: int
    #: Case with a wrong answer, so that the test can tell.
    mistake: int | None = None

    def build(self, m, count, finished):
        """Give it a case a cycle; return a bit that stays set once an answer is wrong."""
        dut = ShallowLanes(config(self.bits))
        zero, low, high = clamp(self.bits, CLAMPS[1])
        m.submodules[self.name] = Fragment.get(dut, self.platform)
        words = [self._pack(case, answer(case, zero, low, high) ^ (i == self.mistake))
                 for i, case in enumerate(SAMPLE)]
        m.submodules[f"{self.name}_cases"] = memory = Memory(
            shape=72 + self.bits, depth=len(words), init=words)
        port = memory.read_port(domain="comb")
        scale, result = dut.parameters[0], Signal(signed(self.bits))
        x, multiplier, left, right = Signal(32), Signal(31), Signal(4), Signal(5)
        m.d.comb += [
            port.addr.eq(count), Cat(x, multiplier, left, right, result).eq(port.data),
            dut.start.eq(1), dut.first.eq(1), dut.last.eq(1), dut.zero.eq(zero), dut.low.eq(low),
            dut.high.eq(high), dut.drained[0].eq(delayed(m, x, 1, f"{self.name}_x")),
            scale.multiplier.eq(delayed(m, multiplier, 2, f"{self.name}_multiplier")),
            scale.left.eq(delayed(m, left, 2, f"{self.name}_left")),
            scale.right.eq(delayed(m, right, 2, f"{self.name}_right")),
        ]
        latency = post_latency(dut.config)
        result = delayed(m, result, latency, f"{self.name}_result")
        wrong = Signal(name=f"{self.name}_wrong")
        with m.If((count >= latency) & ~finished & (dut.data[0] != result)):
            m.d.sync += wrong.eq(1)
        return wrong

    def _pack(self, case, result):
        x, multiplier, left, right = case
        low = x & 0xFFFFFFFF | multiplier << 32 | left << 63 | right << 67
        return low | (result & (1 << self.bits) - 1) << 72


#: Some of the cases, of every kind and both signs.
SAMPLE = list(cases())[::7]


@pytest.mark.slow
@pytest.mark.parametrize(("platform", "model", "bits"), [
    (ICE40, sb_mac16, 8), (ICE40, sb_mac16, 16), (GOWIN, lambda: gowin_mult(18), 8)],
    ids=["ice40-8", "ice40-16", "gowin-8"])
def test_primitives(platform, model, bits):
    jobs = [Job("right", platform, bits), Job("mistaken", platform, bits, mistake=len(SAMPLE) - 1)]
    cycles = len(SAMPLE) + post_latency(config(bits))
    assert wrong_jobs(jobs, model(), cycles) == ["mistaken"]
