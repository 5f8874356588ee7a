"""A wide product from rows of adders, each used twice: no DSP."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.carry import add_and_invert
from systolith.hw.latency import PRODUCT_BLOCKS, PRODUCT_PASSES

__all__ = ["PRODUCT_LOST", "SerialProduct"]

#: Lowest bits of a product that nobody asks for.
PRODUCT_LOST = 15
#: Bits of the factor, and of a partial sum between two rows.
_FACTOR, _PARTIAL = 31, 32


class SerialProduct(wiring.Component):
    """``product = x * factor`` for ``x = less + 1``, a result every second cycle.

    With ``less`` written in digits of plus and minus one, ``2 * x - 1`` is their sum, so

        2 * x * factor = factor + sum over i of (factor or -factor) * 2**i

    and every digit takes one adder and no multiplexer: ``p - factor`` is ``~(~p + factor)``, and a
    logic cell that adds can invert its sum too. A partial sum goes through the digits from the
    lowest up and loses its lowest bit at each, which nothing behind it changes. Blocks of rows
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
        self.bits, self.rows = bits, bits // PRODUCT_PASSES
        super().__init__({"start": In(1), "less": In(signed(bits)), "factor": In(_FACTOR),
                          "negative": Out(1),
                          "size": Out(signed(_FACTOR + bits - PRODUCT_LOST))})

    def elaborate(self, platform) -> Module:
        m = Module()
        less, turn = Signal(self.bits, reset_less=True), Signal(PRODUCT_PASSES)
        with m.If(self.start):
            m.d.sync += less.eq(self.less)
        m.d.sync += turn.eq(Cat(self.start, turn))
        # a digit is minus one where ``minus`` is set. Where it differs from the next one the sum
        # is inverted; behind the last one it stays as it is
        minus = Cat(~less[:-1], less[-1])
        turns, negative = Cat(minus[:-1] ^ minus[1:], Const(0, 1)), less[-1]
        value = (Cat(self.factor, Const(0, 1)) ^ minus[0].replicate(_PARTIAL)).as_signed()
        lost = []
        for block in range(PRODUCT_BLOCKS):
            entering, leaving = turn[2 * block], turn[2 * block + 1]
            partial = Signal(signed(_PARTIAL), name=f"partial{block}", reset_less=True)
            after, bits = self._rows(
                m, platform, f"block{block}", Mux(entering, value, partial),
                Mux(entering, turns[:self.rows], turns[self.rows:2 * self.rows]))
            m.d.sync += partial.eq(after)
            lost += self._lost(m, block, bits, turns, entering)
            value = partial
            if block < PRODUCT_BLOCKS - 1:       # kept while the next ones go through this block
                kept = Signal(len(turns) - 2 * self.rows + 1, name=f"kept{block}", reset_less=True)
                with m.If(leaving):
                    m.d.sync += kept.eq(Cat(turns[2 * self.rows:], negative))
                turns, negative = kept[:-1], kept[-1]
        m.d.sync += self.negative.eq(negative)
        m.d.comb += self.size.eq(Cat(*lost, value))
        return m

    def _rows(self, m, platform, name, value, turns):
        """Send a partial sum through some rows; return it and the bits it has lost."""
        lost = []
        for i, turn in enumerate(turns):
            total = add_and_invert(m, platform, value, self.factor, turn, bits=_PARTIAL + 1,
                                   name=f"{name}_row{i}")
            lost.append(total[0])
            value = total[1:].as_signed()
        return value, lost

    def _lost(self, m, block, bits, turns, entering):
        """Return the bits lost in a block that are part of the size, when that is there.

        A bit is right, or inverted with the whole, if the rows behind its own invert the sum an
        even number of times.
        """
        rows, age, wanted = self.rows, 2 * (PRODUCT_BLOCKS - block), []
        after = [turns[i + 1:].xor() for i in range(2 * rows)]
        for i, bit in enumerate(bits):
            # row n has lost bit n - 1
            passes = [p for p in range(2) if (2 * block + p) * rows + i > PRODUCT_LOST]
            if passes:
                odd = Mux(entering, after[i], after[rows + i]) if 0 in passes else after[rows + i]
                later = Signal(age - min(passes), name=f"lost{block}_{i}", reset_less=True)
                m.d.sync += later.eq(Cat(bit ^ odd, later))
                wanted += [((p, i), later[age - 1 - p]) for p in passes]
        return [bit for _, bit in sorted(wanted, key=lambda item: item[0])]
