"""TrainingLanes against numerics: nests of random steps, windows, masks, records and ranges."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.latency import PLACE_LEAD, TRAINING_LATENCY
from systolith.hw.training_lanes import TrainingLanes
from systolith.sw.train import numerics

CONFIG = Config(rows=4, columns=3, post_lanes=3, operand_bits=16, accumulator_bits=48,
                training=True, output_stationary=True, banks=1, bank_words=1024, frame_bytes=64)
LANES, ADDRESS_BITS = CONFIG.post_lanes, CONFIG.address_bits
#: Largest sum that leaves room for an addend.
MOST = 1 << numerics.ACCUMULATOR_BITS - 2


@dataclass
class Nest:
    """One nest: what is static in it, and its steps, drawn from a seed."""

    seed: int
    right: int
    left: int = 0
    adding: bool = False
    stochastic: bool = False
    rectify: bool = False
    masked: bool = False
    comparing: bool = False
    #: Most steps of a window.
    window: int = 1
    steps: int = 60
    rng: np.random.Generator = field(init=False)

    def __post_init__(self):
        self.rng = rng = np.random.default_rng(self.seed)
        self.turn = int(rng.integers(0, numerics.MAX_TURNS))
        self.key = int(rng.integers(0, 1 << 32))
        shape = self.steps, LANES
        sums = rng.integers(-1 << 17, 1 << 17, shape) << self.right >> 1
        self.sums = sums.clip(-MOST, MOST)
        self.operands = self._elements(shape)
        self.masks = self._elements(shape) * (rng.random(shape) < 0.8)
        self.places = rng.integers(0, 1 << ADDRESS_BITS, self.steps)
        self.counted = rng.random(shape) < 0.8
        self.pauses = rng.choice([0, 0, 0, 1, 5], self.steps)
        lengths = rng.integers(1, self.window + 1, self.steps)
        taps = np.concatenate([np.arange(length) for length in lengths])[:self.steps]
        self.taps, self.first = taps, taps == 0
        self.last = np.ones_like(self.first) if self.comparing else np.append(self.first[1:], True)
        if self.comparing:                       # records that often match
            self.operands = rng.integers(0, self.window, shape).astype(np.int16)
        elif self.window > 1:                    # maxima that often tie
            self.sums = np.where(rng.random(shape) < 0.5, self.sums, self.sums[0])

    def _elements(self, shape):
        return self.rng.integers(numerics.LOW, numerics.HIGH + 1, shape).astype(np.int16)

    def elements(self):
        """Return every step's elements, and the range of those that count."""
        total = self.sums + (self.operands.astype(np.int64) << self.left if self.adding else 0)
        random = None
        if self.stochastic:
            places = (self.places[:, None] + np.arange(LANES)) % (1 << ADDRESS_BITS)
            random = numerics.draw(places.astype(np.uint32), self.key, self.turn)
        keep = np.ones_like(self.counted)
        if self.masked:
            keep &= self.masks > 0
        if self.comparing:
            keep &= self.operands == self.taps[:, None]
        kwargs = {"rectify": self.rectify, "random": random}
        y, _ = numerics.finish(total, self.right, mask=keep.astype(np.int16), **kwargs)
        _, measured = numerics.finish(total, self.right, mask=keep & self.counted, **kwargs)
        return y, measured

    def results(self, y):
        """Return data and records of every result."""
        start = 0
        for step in np.flatnonzero(self.last):
            window = y[start:step + 1]
            best = window.argmax(axis=0)
            start = step + 1
            record = best if not self.comparing else np.full(LANES, self.taps[step])
            yield window.max(axis=0).tolist(), record.tolist()

    def schedule(self):
        """Return the cycle of every step."""
        return (PLACE_LEAD + np.arange(self.steps) + np.cumsum(self.pauses)).tolist()


NESTS = {
    "plain": Nest(1, 7),
    "wide": Nest(2, 31, left=31, adding=True),
    "stochastic": Nest(3, 12, left=9, adding=True, stochastic=True),
    "stochastic-far": Nest(4, 25, stochastic=True),
    "rectified": Nest(5, 4, rectify=True),
    "masked": Nest(6, 9, masked=True, left=3, adding=True),
    "maximum": Nest(7, 3, window=4, rectify=True),
    "maximum-alone": Nest(8, 0, window=9),
    "comparing": Nest(9, 1, window=4, comparing=True),
    "comparing-masked": Nest(10, 0, window=3, comparing=True, masked=True, stochastic=True),
}


def run(nests):
    """Run nests one after the other on the same lanes; check all they say."""
    dut = TrainingLanes(CONFIG)

    async def one(ctx, nest):
        static = ("left", "right", "adding", "stochastic", "turn", "rectify", "masked",
                  "comparing")
        for name in static:
            ctx.set(getattr(dut, name), int(getattr(nest, name)))
        ctx.set(dut.seed, nest.key)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        y, measured = nest.elements()
        steps = {cycle: step for step, cycle in enumerate(nest.schedule())}
        got = []
        for cycle in range(max(steps) + TRAINING_LATENCY + 2):
            if (ahead := steps.get(cycle + PLACE_LEAD)) is not None:
                ctx.set(dut.place, int(nest.places[ahead]))
            step = steps.get(cycle)
            ctx.set(dut.start, step is not None)
            if step is not None:
                ctx.set(dut.first, int(nest.first[step]))
                ctx.set(dut.last, int(nest.last[step]))
                ctx.set(dut.counted, sum(1 << n for n in range(LANES) if nest.counted[step, n]))
                for n in range(LANES):
                    ctx.set(dut.sums[n], int(nest.sums[step, n]))
                    ctx.set(dut.operand[n], int(nest.operands[step, n]))
                    ctx.set(dut.mask[n], int(nest.masks[step, n]))
            done = steps.get(cycle - TRAINING_LATENCY)
            assert ctx.get(dut.valid) == (done is not None and nest.last[done])
            if ctx.get(dut.valid):
                got.append(([ctx.get(dut.data[n]) for n in range(LANES)],
                            [ctx.get(dut.record[n]) for n in range(LANES)]))
            await ctx.tick()
        assert got == list(nest.results(y))
        assert (ctx.get(dut.bits).bit_length(), ctx.get(dut.saturated)) == (
            measured.bits, measured.saturated)

    async def bench(ctx):
        for nest in nests:
            await one(ctx, nest)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("name", NESTS)
def test_equals_numerics(name):
    run([NESTS[name]])


def test_a_nest_leaves_nothing_behind():
    run([NESTS[name] for name in ("maximum", "plain", "comparing", "rectified")])
