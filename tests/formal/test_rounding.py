"""Proof: the offset of a rounding may be added after the shift.

The solver gives up on shifts that it may choose, so some are chosen for it.
"""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring

from systolith.hw.latency import ROUNDING_LATENCY
from systolith.hw.rounding import Rounder
from tests.formal.proofs import prove


class RoundedAsDefined(wiring.Component):
    """A rounder whose inputs hold still, beside the definition of what it does."""

    def __init__(self, dut, left, right):
        self.dut, self.left, self.right = dut, left, right
        super().__init__({name: member for name, member in dut.signature.members.items()
                          if member.flow is wiring.In and name not in ("left", "right")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [dut.left.eq(self.left), dut.right.eq(self.right)]
        age = Signal(range(ROUNDING_LATENCY + 1))
        m.d.sync += age.eq(age + (age != ROUNDING_LATENCY))
        for name in self.signature.members:
            value = getattr(self, name)
            before = Signal.like(value, name=f"{name}_before")
            m.d.sync += before.eq(value)
            m.d.comb += getattr(dut, name).eq(value)
            with m.If(age != 0):
                m.d.comb += Assume(value == before)

        total = self.sum + (self.operand << self.left)
        fits = Signal(signed(dut.sum_bits))
        offset = Signal(unsigned(31))
        exact = Signal(signed(dut.sum_bits + 1))
        low = Mux(self.rectify, 0, -1 << 15)
        m.d.comb += [fits.eq(total), Assume(fits == total),
                     offset.eq((self.offset << self.right) >> 16),
                     exact.eq((fits + offset) >> self.right)]
        outside = (exact > (1 << 15) - 1) | ((exact < -1 << 15) & ~self.rectify)
        clipped = Mux(exact < low, low, Mux(exact > (1 << 15) - 1, (1 << 15) - 1, exact))
        with m.If(age == ROUNDING_LATENCY):
            m.d.comb += [Assert(dut.y == Mux(self.zero, 0, clipped)),
                         Assert(dut.saturated == (outside & ~self.zero))]
        return m


@pytest.mark.slow
@pytest.mark.parametrize(("left", "right"), [(0, 7), (9, 17), (20, 31)])
def test_rounds_as_defined(left, right, tmp_path):
    spec = RoundedAsDefined(Rounder(48), left, right)
    assert prove(spec, tmp_path, cycles=ROUNDING_LATENCY + 2)
