"""Requantize against numerics, on random values and on every kind of tie."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Cat, Fragment, Signal, signed, unsigned
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.multiplier import delayed
from systolith.hw.requantize import Requantize
from systolith.sw import numerics
from tests.hw.primitives import ECP5, GOWIN, ICE40, gowin_mult, mult18x18d, sb_mac16, wrong_jobs


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


#: Some of them, of every kind and both signs.
SAMPLE = list(cases())[::7]


@dataclass(frozen=True)
class Job:
    """A requantiser made of a family's primitives, against numerics."""

    name: str
    platform: SimpleNamespace
    #: Case with a wrong answer, so that the test can tell.
    mistake: int | None = None
    multipliers: int = 3

    def build(self, m, count, finished):
        """Give it a case a cycle; return a bit that stays set once an answer is wrong."""
        dut = Requantize(Config(post_multipliers=self.multipliers))
        m.submodules[self.name] = Fragment.get(dut, self.platform)
        words = [self._pack(case, i == self.mistake) for i, case in enumerate(SAMPLE)]
        m.submodules[f"{self.name}_cases"] = memory = Memory(shape=unsigned(104), depth=len(words),
                                                             init=words)
        port = memory.read_port(domain="comb")
        answer, wrong = Signal(signed(32)), Signal(name=f"{self.name}_wrong")
        m.d.comb += [port.addr.eq(count),
                     Cat(dut.x, dut.multiplier, dut.left, dut.right, answer).eq(port.data)]
        right = delayed(m, answer, dut.latency, f"{self.name}_right")
        with m.If((count >= dut.latency) & ~finished & (dut.y != right)):
            m.d.sync += wrong.eq(1)
        return wrong

    @staticmethod
    def _pack(case, mistaken):
        x, multiplier, left, right = case
        answer = int(numerics.requantize(*case)) ^ mistaken
        low = x & 0xFFFFFFFF | multiplier << 32 | left << 63 | right << 67
        return low | (answer & 0xFFFFFFFF) << 72


@pytest.mark.slow
@pytest.mark.parametrize(("platform", "model"), [
    (ECP5, mult18x18d), (ICE40, sb_mac16), (GOWIN, lambda: gowin_mult(18))],
    ids=["ecp5", "ice40", "gowin"])
def test_primitives(platform, model):
    """The families split the product at different bits."""
    jobs = [Job("right", platform), Job("four", platform, multipliers=4),
            Job("mistaken", platform, mistake=len(SAMPLE) - 1)]
    cycles = len(SAMPLE) + Requantize.latency
    assert wrong_jobs(jobs, model(), cycles) == ["mistaken"]
