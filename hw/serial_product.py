"""A wide product from rows of adders, each used twice: no DSP."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.latency import PRODUCT_PASSES

__all__ = ["PRODUCT_LOST", "SerialProduct"]

#: Lowest bits of a product that nobody asks for.
PRODUCT_LOST = 15
#: Bits of the factor, and of a partial sum: with a carry and a sign.
_FACTOR, _WIDTH = 31, 33


class SerialProduct(wiring.Component):
    """``product = x * factor`` for ``x = less + 1``, a result every second cycle.

    With ``less`` written in digits of plus and minus one, ``2 * x - 1`` is their sum, so

        2 * x * factor = factor + sum over i of (factor or -factor) * 2**i

    and every digit takes one adder and no multiplexer: ``p - factor`` is ``~(~p + factor)``, and a
    logic cell that adds can invert its sum too. A partial sum goes through the digits from the
    lowest up and loses its lowest bit at each, which nothing behind it changes. Two blocks of rows
    follow one another; a partial sum goes through each twice.

    Parameters
    ----------
    bits : :class:`int`
        Bits of ``less``, a multiple of ``PRODUCT_PASSES``.

    Members
    -------
    start : :py:`In(1)`
        ``less`` is there; not again in the next cycle.
    less : :py:`In(signed(bits))`
    factor : :py:`In(31)`
        Not 0, and static until the product is there.
    negative, size : Out
        ``PRODUCT_CYCLES`` after ``start``: the sign of ``less``, and the product without its
        ``PRODUCT_LOST`` lowest bits, inverted if ``negative``. So it is less than 0 for ``x = 0``
        alone, and -1.
    """

    def __init__(self, bits: int):
        self.bits = bits
        super().__init__({"start": In(1), "less": In(signed(bits)), "factor": In(_FACTOR),
                          "negative": Out(1),
                          "size": Out(signed(_FACTOR + bits - PRODUCT_LOST))})

    def elaborate(self, platform) -> Module:
        m = Module()
        rows = self.bits // PRODUCT_PASSES
        less, early, late = Signal(self.bits, reset_less=True), Signal(), Signal(2)
        with m.If(self.start):
            m.d.sync += less.eq(self.less)
        m.d.sync += [early.eq(self.start), late.eq(Cat(early, late))]
        # a digit is minus one where ``minus`` is set. Where it differs from the next one the sum
        # is inverted; behind the last one it stays as it is
        minus = Cat(~less[:-1], less[-1])
        turns = Cat(minus[:-1] ^ minus[1:], Const(0, 1))

        half = Signal(signed(_WIDTH - 1), reset_less=True)
        begin = Cat(self.factor, Const(0, 1)) ^ minus[0].replicate(_WIDTH - 1)
        m.d.sync += half.eq(self._block(m, "first", Mux(early, begin.as_signed(), half),
                                        Mux(early, turns[:rows], turns[rows:2 * rows]))[0])

        # the second block's digits are kept while the first one goes on, and how the bit that a
        # row loses relates to the sign
        kept = Signal(2 * rows, reset_less=True)
        against, negative = Signal(2 * rows, reset_less=True), Signal(reset_less=True)
        with m.If(late[0]):
            m.d.sync += [kept.eq(turns[2 * rows:]), negative.eq(less[-1]),
                         against.eq(minus[2 * rows:] ^ less[-1].replicate(2 * rows))]
        upper = Signal(signed(_WIDTH - 1), reset_less=True)
        value, lost = self._block(m, "second", Mux(late[1], half, upper),
                                  Mux(late[1], kept[:rows], kept[rows:]))
        lower, before = Signal(rows, reset_less=True), Signal(rows, reset_less=True)
        m.d.sync += [
            upper.eq(value), self.negative.eq(negative), before.eq(lower),
            lower.eq(lost ^ Mux(late[1], against[:rows], against[rows:])),
        ]
        # row i has lost bit i - 1
        wanted = self.bits - 1 - PRODUCT_LOST
        m.d.comb += self.size.eq(Cat(Cat(before, lower)[2 * rows - wanted:], upper))
        return m

    def _block(self, m, name, value, turns):
        """Send a partial sum through some rows; return it and the bits it has lost."""
        lost = []
        for i, turn in enumerate(turns):
            total = Signal(signed(_WIDTH), name=f"{name}_total{i}")
            m.d.comb += total.eq(value + self.factor)
            lost.append(total[0])
            value = (total[1:] ^ turn.replicate(_WIDTH - 1)).as_signed()
        return value, Cat(lost)
