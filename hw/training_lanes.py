"""POST's arithmetic of training: sums of a few columns become elements, and say how large."""

from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import ROUNDING_LATENCY, TRAINING_LATENCY
from systolith.hw.multiplier import delayed
from systolith.hw.random import Random
from systolith.hw.replica import copy_of, replica
from systolith.hw.rounding import Rounder

__all__ = ["TrainingLanes"]

_ELEMENT = signed(16)


class TrainingLanes(wiring.Component):
    """Lanes side by side: ``numerics.finish`` of training, a maximum and its tap; a step a cycle.

    A lane's y is ``saturate((sum + (operand << left) + offset) >> right)``, or 0 where a mask or
    a record says so. A step's *tap* is its number in its window. A window's result is its largest
    y, with the first tap that has it; with ``comparing`` every step's own y.

    Members
    -------
    left, right, adding, stochastic, turn, seed, rectify, masked, comparing : In
        Static in a nest, from a cycle before its first place on. ``adding``: y has an addend, the
        operand. ``stochastic``: the offset is random. ``masked``: y is 0 where the mask is not
        positive. ``comparing``: y is 0 where the operand is not the tap.
    start, first, last : :py:`In(1)`
        There is a step; it is the first of its window, it has a result.
    place : :py:`In(address_bits)`
        Address of lane 0's element, ``PLACE_LEAD`` cycles before the step; those of the others
        follow, over the end of memory.
    counted : :py:`In(lanes)`
        Lanes of the step that belong to the range.
    sums, operand, mask : In
        An array of elements each.
    valid, data, record : Out
        A result and its taps, ``TRAINING_LATENCY`` cycles after its ``last`` step.
    clear : :py:`In(1)`
        The range begins anew; no step may be under way.
    bits : :py:`Out(15)`
        As many bits as the largest magnitude needs: the OR of ``y ^ (y >> 15)``.
    saturated : :py:`Out(32)`
        How many y were out of range. Both know a step a cycle after its result.
    """

    def __init__(self, config: Config):
        self.config = c = config
        elements = data.ArrayLayout(_ELEMENT, c.post_lanes)
        super().__init__({
            "left": In(5), "right": In(5), "adding": In(1), "stochastic": In(1), "turn": In(8),
            "seed": In(32), "rectify": In(1), "masked": In(1), "comparing": In(1),
            "start": In(1), "first": In(1), "last": In(1), "place": In(c.address_bits),
            "counted": In(c.post_lanes), "operand": In(elements), "mask": In(elements),
            "sums": In(data.ArrayLayout(signed(c.accumulator_bits), c.post_lanes)),
            "valid": Out(1), "data": Out(elements), "record": Out(elements),
            "clear": In(1), "bits": Out(15), "saturated": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        alive = delayed(m, self.start, ROUNDING_LATENCY - 1, "alive")
        first = delayed(m, self.first, ROUNDING_LATENCY - 1, "first")
        tap = self._tap(m)
        at_result = delayed(m, tap, ROUNDING_LATENCY, "tap")
        rounders = [self._lane(m, lane, tap) for lane in range(self.config.post_lanes)]
        for lane, rounder in enumerate(rounders):
            self._pool(m, lane, rounder.y, at_result, alive, first)
        self._range(m, rounders)
        m.d.comb += self.valid.eq(delayed(m, self.start & self.last, TRAINING_LATENCY, "valid"))
        return m

    def _tap(self, m):
        """Return the number of the step that comes in."""
        tap, following = Signal(16), Signal(16, reset_less=True)
        m.d.comb += tap.eq(Mux(self.first, 0, following))
        with m.If(self.start):
            m.d.sync += following.eq(tap + 1)
        return tap

    def _lane(self, m, lane, tap):
        """Build one lane up to its element."""
        m.submodules[f"random{lane}"] = random = Random()
        m.submodules[f"rounder{lane}"] = rounder = Rounder(self.config.accumulator_bits)

        def near(value, name):
            return copy_of(m, value, name=f"{name}{lane}")

        place = Signal(self.config.address_bits, name=f"place{lane}", reset_less=True)
        offset = Signal(16, name=f"offset{lane}", reset_less=True)
        m.d.sync += [place.eq(self.place + lane),
                     offset.eq(Mux(self.stochastic, random.number, 1 << 15))]
        m.d.comb += [random.place.eq(place), random.turn.eq(self.turn),
                     random.seed.eq(near(self.seed, "seed")), rounder.offset.eq(offset)]

        operand, mask = self.operand[lane], self.mask[lane]
        m.d.comb += [
            rounder.left.eq(near(self.left, "left")), rounder.right.eq(near(self.right, "right")),
            rounder.rectify.eq(self.rectify), rounder.sum.eq(self.sums[lane]),
            rounder.operand.eq(Mux(self.adding, operand, 0)),
            rounder.zero.eq((self.masked & (mask <= 0)) | (self.comparing & (operand != tap))),
        ]
        return rounder

    def _pool(self, m, lane, y, tap, alive, first):
        """Keep the maximum over a window and its tap."""
        best, record = self.data[lane], self.record[lane]
        # for the element that comes: it may be taken, it is taken whatever it is
        may, must = (replica(1, name=f"{name}{lane}") for name in ("may_take", "must_take"))
        m.d.sync += [may.eq(alive), must.eq(alive & (first | self.comparing))]
        with m.If(must | (may & (y > best))):
            m.d.sync += [best.eq(y), record.eq(tap)]

    def _range(self, m, rounders):
        """Gather the range: a cycle for the step's own, a cycle to add it to that of the nest."""
        counted = delayed(m, Mux(self.start, self.counted, 0), ROUNDING_LATENCY, "counted")
        magnitudes = [Mux(counts, rounder.y[:-1] ^ rounder.y[-1].replicate(15), 0)
                      for counts, rounder in zip(counted, rounders, strict=True)]
        bits, saturated = Signal(15, reset_less=True), Signal(range(len(rounders) + 1),
                                                              reset_less=True)
        m.d.sync += [bits.eq(reduce(or_, magnitudes)),
                     saturated.eq(sum(counts & rounder.saturated for counts, rounder
                                      in zip(counted, rounders, strict=True)))]
        with m.If(self.clear):
            m.d.sync += [self.bits.eq(0), self.saturated.eq(0)]
        with m.Else():
            m.d.sync += [self.bits.eq(self.bits | bits),
                         self.saturated.eq(self.saturated + saturated)]
