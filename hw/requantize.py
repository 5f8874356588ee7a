"""The requantiser: TFLite's rescaling of a 32-bit sum, one result a cycle."""

from amaranth.hdl import Cat, Const, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import REQUANTIZE_LATENCY, WIDE_STAGES
from systolith.hw.multiplier import delayed, multiply_in_fabric, multiply_wide, part_bits

__all__ = ["Requantize"]


class Requantize(wiring.Component):
    """``y = round_half_away(floor((x * 2**left * multiplier + 2**30) / 2**31) / 2**right)``.

    Equal to ``numerics.requantize`` bit for bit where ``x * 2**left`` fits 32 bits. Fully
    pipelined; all inputs of a result are given in the same cycle. The 32 x 31 bit product is made
    of four that fit the family's DSPs; on ECP5 the smallest may be left to the fabric.

    Members
    -------
    x : :py:`In(signed(32))`
    multiplier : :py:`In(31)`
    left : :py:`In(4)`
    right : :py:`In(5)`
    y : :py:`Out(signed(32))`
        ``latency`` cycles later.

    References
    ----------
    gemmlowp ``fixedpoint.h``: SaturatingRoundingDoublingHighMul, RoundingDivideByPOT.
    """

    x: In(signed(32))
    multiplier: In(31)
    left: In(4)
    right: In(5)
    y: Out(signed(32))

    latency = REQUANTIZE_LATENCY

    def __init__(self, config: Config):
        self.config = config
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        high = self._high_product(m, platform)
        self._divide(m, high, delayed(m, self.right, self.latency - 4, "right"))
        return m

    def _high_product(self, m, platform):
        """Return ``floor((x << left) * multiplier + 2**30 >> 31)``, eight cycles later."""
        bits = part_bits(platform)
        coarse, x, fine = Signal(signed(32)), Signal(signed(32)), Signal(2)
        factor = delayed(m, self.multiplier, 2, "factor")
        m.d.sync += [coarse.eq(self.x << (self.left[2:] << 2)), fine.eq(self.left[:2]),
                     x.eq(coarse << fine)]
        x_low, x_high = x[:bits], x[bits:].as_signed()
        f_low, f_high = factor[:bits], factor[bits:]

        def times(a, b, name):
            return multiply_wide(m, platform, a, b, name=name)

        low = times(x_low, f_low, "low")
        middle = times(x_high, f_low, "high_low"), times(x_low, f_high, "low_high")
        if bits == 18 and self.config.post_multipliers == 3:
            top = multiply_in_fabric(m, x_high, f_high, WIDE_STAGES + 2, name="top")
        else:
            top = delayed(m, times(x_high, f_high, "top"), 2, "top_late")

        # top << 2 bits, middle << bits and low, added where they overlap
        rounded, crossed = Signal(unsigned(2 * bits + 1)), Signal(signed(36))
        m.d.sync += [rounded.eq(low + (1 << 30)), crossed.eq(middle[0] + middle[1])]
        carried = Signal(signed(38))
        m.d.sync += carried.eq(crossed + rounded[bits:])
        high = Signal(signed(32))
        m.d.sync += high.eq(((top << bits) + carried) >> (31 - bits))
        return high

    def _divide(self, m, high, right):
        """Round to nearest, ties away from zero, and shift right; three cycles."""
        # ``right`` comes one cycle before ``high``: half of the divisor less one, which is all that
        # is added to a negative number; the missing one enters as the carry
        below, divides = Signal(31), Signal()
        shift = Signal(5)
        m.d.sync += [shift.eq(right), divides.eq(right != 0),
                     below.eq(Cat(right > bit + 1 for bit in range(len(below))))]
        rounded, carry = Signal(signed(33)), divides & (high >= 0)
        m.d.sync += rounded.eq((Cat(Const(1, 1), high).as_signed() + Cat(carry, below)) >> 1)
        coarse, fine = Signal(signed(33)), Signal(2)
        by = delayed(m, shift, 1, "shift")
        m.d.sync += [coarse.eq(rounded >> (by[2:] << 2)), fine.eq(by[:2])]
        m.d.sync += self.y.eq(coarse >> fine)
