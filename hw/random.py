"""Random numbers for stochastic rounding: each drawn from the place of the element it rounds."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.latency import RANDOM_LATENCY

__all__ = ["Random"]

#: Bits of half a block.
_HALF = 16


class Random(wiring.Component):
    """Rounds of Speck32, ``(turn, place)`` as block and ``seed`` as key; one number a cycle.

    Equal to ``numerics.draw`` of training, bit for bit. A round takes a cycle:
    ``x = ror(x, 7) + y; x ^= key; y = rol(y, 2) ^ x``.

    Members
    -------
    place : :py:`In(24)`
        Address of an element.
    turn : :py:`In(8)`
        Tells apart the times a job writes the place.
    seed : :py:`In(32)`
        Static while places are under way.
    number : :py:`Out(16)`
        ``RANDOM_LATENCY`` cycles after ``place`` and ``turn``.

    References
    ----------
    Beaulieu et al. 2013, "The SIMON and SPECK Families of Lightweight Block Ciphers", section 4.
    """

    place: In(24)
    turn: In(8)
    seed: In(32)
    number: Out(16)

    def elaborate(self, platform) -> Module:
        m = Module()
        y, x = self.place[:_HALF], Cat(self.place[_HALF:], self.turn)
        keys = self.seed[:_HALF], self.seed[_HALF:]
        for i in range(RANDOM_LATENCY):
            mixed = (x.rotate_right(7) + y)[:_HALF] ^ keys[i % 2] ^ i
            x_next, y_next = (Signal(_HALF, name=f"{half}{i + 1}", reset_less=True)
                              for half in "xy")
            m.d.sync += [x_next.eq(mixed), y_next.eq(y.rotate_left(2) ^ mixed)]
            x, y = x_next, y_next
        m.d.comb += self.number.eq(x)
        return m
