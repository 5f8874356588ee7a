"""The array of shallow pipelines: a whole column is added in one cycle, no operand waits."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import array_latency
from systolith.hw.multiplier import multiply_held

__all__ = ["ShallowArray"]


class ShallowArray(wiring.Component):
    """``psums[c] = sum over r of vector[r] * weights[r][c]``, a vector a cycle, no stalls.

    All rows and columns work in the same cycle: the multipliers' operand registers are the only
    ones in front of them, and hold the active weights too. What follows is one sum a column.

    Loading: word k of a tile is given with ``load`` in cycle t0 + k. A vector with ``swap`` may
    enter from cycle t0 + ``load_words`` on; if it enters in cycle s, the next tile's word 0 may
    come from cycle s on.

    Members
    -------
    vector, valid, swap : In
        R signed elements.
    load, load_index, load_data : In
        A word of weights.
    psums : :py:`Out(ArrayLayout(signed(psum_bits), C))`
        Those of the vector of cycle t, in cycle t + ``latency``.
    """

    def __init__(self, config: Config):
        self.config = c = config
        element = signed(c.operand_bits)
        super().__init__({
            "vector": In(data.ArrayLayout(element, c.rows)), "valid": In(1), "swap": In(1),
            "load": In(1), "load_index": In(range(c.load_words)),
            "load_data": In(data.ArrayLayout(element, c.lanes)),
            "psums": Out(data.ArrayLayout(signed(c.psum_bits), c.columns)),
        })

    @property
    def latency(self) -> int:
        """Cycles from a vector to the sums."""
        return array_latency(self.config)

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        places = [(r, n) for n in range(c.columns) for r in range(c.rows)]
        products = multiply_held(
            m, platform, [(self.vector[r], self._shadow(m, r, n)) for r, n in places],
            take=self.swap & self.valid, name="mac")
        for n in range(c.columns):
            psum = Signal(signed(c.psum_bits), name=f"psum{n}", reset_less=True)
            m.d.sync += psum.eq(_tree(products[n * c.rows:(n + 1) * c.rows]))
            m.d.comb += self.psums[n].eq(psum)
        return m

    def _shadow(self, m, row, column):
        """Return the register of one weight of the next tile."""
        c = self.config
        part, word = divmod(row, c.load_words)
        shadow = Signal(signed(c.operand_bits), name=f"shadow{row}_{column}", reset_less=True)
        with m.If(self.load & (self.load_index == word)):
            m.d.sync += shadow.eq(self.load_data[part * c.columns + column])
        return shadow


def _tree(terms):
    """Return the sum of all terms, added two by two."""
    while len(terms) > 1:
        terms = [sum(terms[i + 1:i + 2], terms[i]) for i in range(0, len(terms), 2)]
    return terms[0]
