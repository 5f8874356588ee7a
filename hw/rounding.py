"""Training's way from a sum to an element: an addend, one shift, one rounding, saturation."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.latency import ROUNDING_LATENCY
from systolith.hw.multiplier import delayed

__all__ = ["Rounder"]

#: Bits of an element, and of the fraction of a step that a shift leaves for its rounding.
_ELEMENT = _FRACTION = 16
#: Shifts are made in two cycles, multiples of ``1 << _FINE`` first.
_FINE = 2
#: Bits of a coarsely shifted sum that matter: what the fine shift may bring into an element, and
#: the sign.
_WHOLE = _ELEMENT + (1 << _FINE)


class Rounder(wiring.Component):
    """``y = saturate((sum + (operand << left) + (offset << right >> 16)) >> right)``, one a cycle.

    The offset is added after the shift, to the whole steps and the 16 bits below them. That is the
    same: where more than 16 bits are shifted out, the offset has nothing to add to the others, and
    where fewer are, its lower bits have nothing to carry from. So half a step is always
    ``1 << 15``, and a random number is its own offset.

    Parameters
    ----------
    sum_bits : :class:`int`
        Bits of a sum, which the addend does not make wider.

    Members
    -------
    sum : :py:`In(signed(sum_bits))`
    operand : :py:`In(signed(16))`
    zero : :py:`In(1)`
        The result is 0, whatever the sum.
    offset : :py:`In(16)`
        ``OFFSET_AGE`` cycles after the sum.
    left, right : :py:`In(5)`
        Static while sums are under way, as is ``rectify``.
    rectify : :py:`In(1)`
        Negative results are 0.
    y : :py:`Out(signed(16))`
        ``ROUNDING_LATENCY`` cycles after the sum.
    saturated : :py:`Out(1)`
        In the same cycle; not where ``zero`` or ``rectify`` hid it.
    """

    def __init__(self, sum_bits: int):
        self.sum_bits = sum_bits
        super().__init__({
            "sum": In(signed(sum_bits)), "operand": In(signed(_ELEMENT)), "zero": In(1),
            "offset": In(_FRACTION), "left": In(5), "right": In(5), "rectify": In(1),
            "y": Out(signed(_ELEMENT)), "saturated": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        steps = self._shifted(m, self._total(m))
        rounded = Signal(signed(_WHOLE + 1), reset_less=True)
        m.d.sync += rounded.eq((steps + self.offset) >> _FRACTION)
        self._saturate(m, rounded, delayed(m, self.zero, ROUNDING_LATENCY - 1, "zero"))
        return m

    def _total(self, m):
        """Return ``sum + (operand << left)``, three cycles later."""
        coarse = Signal(signed(_ELEMENT + 28), reset_less=True)
        addend = Signal(signed(_ELEMENT + 31), reset_less=True)
        total = Signal(signed(self.sum_bits), reset_less=True)
        m.d.sync += [coarse.eq(self.operand << (self.left[_FINE:] << _FINE)),
                     addend.eq(coarse << self.left[:_FINE]),
                     total.eq(delayed(m, self.sum, 2, "sum") + addend)]
        return total

    def _shifted(self, m, total):
        """Return ``total >> right`` with a fraction, two cycles later.

        Where it has more than ``_WHOLE`` bits, it is any number of its sign that saturates.
        """
        sign, kept = total[-1], _FRACTION + _WHOLE - 1
        shift = self.right[_FINE:]
        coarse = Signal(signed(kept + 1), name="coarse_steps", reset_less=True)
        m.d.sync += coarse.eq(Cat(
            (Cat(Const(0, _FRACTION), total).as_signed() >> (shift << _FINE))[:kept], sign))

        # bits that the coarse shift does not bring below the sign, and that are not like it
        above = total[_WHOLE - 1:-1] ^ sign.replicate(self.sum_bits - _WHOLE)
        groups = [above[i:i + (1 << _FINE)].any() for i in range(0, len(above), 1 << _FINE)]
        lost = Signal(len(groups), reset_less=True)
        m.d.sync += lost.eq(Cat(groups))
        fine = Signal(signed(kept + 1), name="steps", reset_less=True)
        m.d.sync += fine.eq(coarse >> self.right[:_FINE])
        with m.If((lost >> shift).any()):
            m.d.sync += fine[-2].eq(~coarse[-1])
        return fine

    def _saturate(self, m, rounded, zero):
        low, high = -(1 << _ELEMENT - 1), (1 << _ELEMENT - 1) - 1
        negative, above = rounded[-1], rounded[_ELEMENT - 1:-1]
        over, under = ~negative & above.any(), negative & ~above.all()
        m.d.sync += [
            self.saturated.eq(~zero & (over | (under & ~self.rectify))),
            self.y.eq(Mux(zero | (negative & self.rectify), 0,
                          Mux(over, high, Mux(under, low, rounded)))),
        ]
