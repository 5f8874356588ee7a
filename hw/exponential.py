"""The exponential of the loss unit: a shift, a table, a shift."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.exp2 import INDEX_BITS, TABLE
from systolith.hw.multiplier import delayed

__all__ = ["Exponential"]

#: Bits of a power.
_POWER = 16


class Exponential(wiring.Component):
    """``power = TABLE[u % 1024] >> u // 1024`` with ``u = round(scaled / 2**shift)``, one a cycle.

    Members
    -------
    scaled : :py:`In(32)`
        A distance to the largest logit, times log2(e).
    shift : :py:`In(5)`
        Static while distances are under way.
    power : :py:`Out(16)`
        ``EXPONENTIAL_LATENCY`` cycles later.
    """

    scaled: In(32)
    shift: In(5)
    power: Out(_POWER)

    def elaborate(self, platform) -> Module:
        m = Module()
        u = self._rounded(m)
        m.submodules.table = table = Memory(shape=_POWER, depth=len(TABLE), init=TABLE,
                                            attrs={"ram_style": "block"})
        port = table.read_port()
        m.d.comb += port.addr.eq(u[:INDEX_BITS])
        entry = delayed(m, port.data, 1, "entry")

        places = delayed(m, u[INDEX_BITS:], 2, "places")
        coarse, fine = Signal(_POWER, reset_less=True), Signal(2, reset_less=True)
        m.d.sync += [
            coarse.eq(Mux(places[4:].any(), 0, entry >> (places[2:4] << 2))),
            fine.eq(places[:2]), self.power.eq(coarse >> fine),
        ]
        return m

    def _rounded(self, m):
        """Return ``scaled / 2**shift``, halves up, three cycles later: the bit below is added."""
        coarse = Signal(len(self.scaled) + 1, name="scaled_coarse", reset_less=True)
        fine = Signal.like(coarse, name="scaled_fine")
        u = Signal(len(self.scaled), reset_less=True)
        m.d.sync += [coarse.eq(Cat(Const(0, 1), self.scaled) >> (self.shift[2:] << 2)),
                     fine.eq(coarse >> self.shift[:2]), u.eq(fine[1:] + fine[0])]
        return u
