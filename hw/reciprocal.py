"""The divider of the loss unit, a bit a cycle."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.exp2 import FRACTION_BITS
from systolith.hw.latency import RECIPROCAL_CYCLES

__all__ = ["Reciprocal"]


class Reciprocal(wiring.Component):
    """``quotient = 2**46 // divisor`` for a divisor of at least ``2**15``, a sum of powers.

    Such a quotient has ``RECIPROCAL_CYCLES`` bits; what the dividend has above them is the first
    remainder, below any divisor.

    Parameters
    ----------
    divisor_bits : :class:`int`

    Members
    -------
    start : :py:`In(1)`
    divisor : :py:`In(divisor_bits)`
        Static from ``start`` to ``done``.
    done : :py:`Out(1)`
        Pulse, ``RECIPROCAL_CYCLES`` cycles after ``start``: the quotient is there, and stays.
    quotient : :py:`Out(32)`
    """

    def __init__(self, divisor_bits: int):
        self.divisor_bits = divisor_bits
        super().__init__({"start": In(1), "divisor": In(divisor_bits), "done": Out(1),
                          "quotient": Out(RECIPROCAL_CYCLES)})

    def elaborate(self, platform) -> Module:
        m = Module()
        remainder = Signal(self.divisor_bits, reset_less=True)
        left = Signal(range(RECIPROCAL_CYCLES))
        doubled, less = Signal(self.divisor_bits + 1), Signal(self.divisor_bits + 2)
        before = Signal(self.divisor_bits)
        m.d.comb += [
            before.eq(remainder), doubled.eq(before << 1), less.eq(doubled - self.divisor),
        ]
        with m.If(self.start):
            m.d.comb += before.eq(1 << FRACTION_BITS - 1)
        fits = ~less[-1]
        with m.If(self.start | (left != 0)):
            m.d.sync += [
                self.quotient.eq(Cat(fits, self.quotient)), remainder.eq(doubled),
                left.eq(left - 1),
            ]
            with m.If(fits):
                m.d.sync += remainder.eq(less)
        with m.If(self.start):
            m.d.sync += left.eq(RECIPROCAL_CYCLES - 1)
        m.d.sync += self.done.eq(left == 1)
        return m
