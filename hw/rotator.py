"""Vectors turned by any number of lanes, in two steps."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.replica import copy_of

__all__ = ["Rotator"]


class Rotator(wiring.Component):
    """``o[i] = i[(amount + i) % lanes]`` (or the inverse), by the upper and then the lower bits.

    With two registers, one behind each step, lanes may be far from each other: each has its own
    copies of the amount, which is therefore given a cycle before its vector.

    Parameters
    ----------
    shape, lanes
        Of the vector's elements, and how many.
    inverse : :class:`bool`
        Turn back.
    registers : :class:`int`
        2, 1 (behind the second step) or 0. With less than 2 the amount comes with its vector.
    """

    def __init__(self, *, shape, lanes: int, inverse: bool = False, registers: int = 2):
        self.lanes, self.inverse, self.registers = lanes, inverse, registers
        self.bits = (lanes - 1).bit_length()
        super().__init__({"i": In(data.ArrayLayout(shape, lanes)), "amount": In(range(lanes)),
                          "o": Out(data.ArrayLayout(shape, lanes))})

    def elaborate(self, platform) -> Module:
        m = Module()
        low_bits = self.bits // 2
        low, high = self.amount[:low_bits], self.amount[low_bits:]
        if self.registers == 2:
            late = Signal.like(low, name="low")
            m.d.sync += late.eq(low)
            highs, lows = ([copy_of(m, value, name=f"{name}{lane}") for lane in range(self.lanes)]
                           for name, value in (("high", high), ("low", late)))
        else:
            highs, lows = [high] * self.lanes, [low] * self.lanes
        middle = Signal.like(self.i, reset_less=True)
        first = m.d.sync if self.registers == 2 else m.d.comb
        second = m.d.sync if self.registers else m.d.comb
        self._step(m, first, self.i, highs, 1 << low_bits, middle)
        self._step(m, second, middle, lows, 1, self.o)
        return m

    def _step(self, m, domain, source, amounts, unit, target):
        sign = -1 if self.inverse else 1
        for i, amount in enumerate(amounts):
            with m.Switch(amount):
                for value in range(1 << len(amount)):
                    with m.Case(value):
                        domain += target[i].eq(source[(i + sign * unit * value) % self.lanes])
