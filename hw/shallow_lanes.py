"""POST's arithmetic with shallow pipelines: one lane of logic cells, a result in two cycles."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import drain_latency, post_latency
from systolith.hw.multiplier import delayed
from systolith.hw.serial_product import PRODUCT_LOST, SerialProduct

__all__ = ["ShallowLanes", "ShallowParameters"]


class ShallowParameters(data.StructLayout):
    """What rescales the channel being drained: the requantiser's parameters, in other words.

    ``less`` is the bias less one; ``left`` the left shift; ``shift`` the right shift of a product
    without its lowest bits, ``right - left + PRODUCT_LOST``; ``twice`` says that there is a
    right shift, so that a result is rounded twice.
    """

    def __init__(self, config: Config):
        super().__init__({"less": signed(config.accumulator_bits), "factor": unsigned(31),
                          "left": unsigned(4), "shift": unsigned(5), "twice": unsigned(1)})

    @staticmethod
    def of_shifts(word):
        """Return ``left``, ``shift`` and ``twice`` made of the parameters' word of shifts."""
        right, left = word[:5], word[6:10]
        return {"left": left, "shift": right + ~left, "twice": right.any()}


class ShallowLanes(wiring.Component):
    """Sum to element for one channel at a time, a step every ``STEP_CYCLES`` cycles.

    Every register follows an adder or a shifter, whose cells hold it. Both roundings are to
    nearest and, but for the first one's ties, away from zero, which show only where the second one
    would not see them: so a result is made from the size of the product. The shift keeps only the
    bits of which an element can be made, and whether there were others.

    Members
    -------
    start, first, last : :py:`In(1)`
        A step's sum is being read (``drain_address`` is presented in this cycle); it is the first,
        the last of its pooling window.
    column : :py:`In(range(columns))`
        Whose sum; static while steps are on their way to ``drained``.
    drained : :py:`In(C sums)`, ``drain_latency`` cycles after ``start``
    parameters : :py:`In(ShallowParameters)`
        Static while steps pass that need them.
    fill, zero, low, high : In
        Static during a nest; the last three are elements.
    valid, data : Out
        Finished results, one for each ``last`` step, ``post_latency`` cycles after it.
    """

    def __init__(self, config: Config):
        self.config = c = config
        element = signed(c.operand_bits)
        super().__init__({
            "start": In(1), "first": In(1), "last": In(1), "column": In(range(c.columns)),
            "drained": In(data.ArrayLayout(signed(c.accumulator_bits), c.columns)),
            "parameters": In(ShallowParameters(c)),
            "fill": In(1), "zero": In(element), "low": In(element), "high": In(element),
            "valid": Out(1), "data": Out(data.ArrayLayout(element, 1)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        age = post_latency(c) - 1                # of the saturated result
        alive = delayed(m, self.start, age, "alive")
        last = delayed(m, self.last, age, "last")
        better = alive & delayed(m, self.first, age, "first")
        m.submodules.product = product = SerialProduct(c.accumulator_bits)
        began = delayed(m, self.start, drain_latency(c), "began")
        m.d.comb += [
            product.start.eq(began), product.factor.eq(self.parameters.factor),
            product.less.eq(Array(self.drained)[self.column] + self.parameters.less),
        ]
        result = self._saturate(m, *self._divide(m, product))
        best = self.data[0]
        with m.If(self.fill):
            m.d.sync += best.eq(self.zero)
        with m.Elif(better | (alive & (result > best))):
            m.d.sync += best.eq(result)
        m.d.sync += self.valid.eq(alive & last)
        return m

    def _divide(self, m, product):
        """Return the quotient, inverted if negative, what rounding adds, and if it is too large.

        The quotient has two bits more than an element, so that with any zero point what is cut
        off was too large. Of the bits shifted out the upper one rounds, or all of those below it
        down to the one that the first rounding looks at; what is below that one is set.
        """
        p, width = self.parameters, self.config.operand_bits + 2
        below = Cat(p.left < PRODUCT_LOST - i for i in range(PRODUCT_LOST))
        value = (product.size | below).as_signed()
        lacks, over = Signal(5), Signal(5)
        for stage in reversed(range(5)):
            by = 1 << stage
            whole = Mux(p.shift[stage], value >> by, value)
            out = Signal(signed(width + by), name=f"shifted{stage}")
            kept = whole[width + by - 1:]        # bits that must all be the sign
            m.d.comb += [out.eq(whole), over[stage].eq(kept.any() & ~kept.all()),
                         lacks[stage].eq(p.shift[stage] & ~value[:by].all())]
            value = out
        negative, quotient = Signal(), Signal(signed(width))
        rounding, large = Signal(), Signal()
        m.d.sync += [
            negative.eq(product.negative), large.eq(over.any()),
            quotient.eq(value[1:] ^ product.negative.replicate(width)),
            rounding.eq((value[0] | (p.twice & ~lacks.any())) ^ product.negative),
        ]
        return negative, quotient, rounding, large

    def _saturate(self, m, negative, quotient, rounding, large):
        """Add the zero point and clamp."""
        c = self.config
        total, result = Signal(signed(c.operand_bits + 4)), Signal(signed(c.operand_bits))
        m.d.comb += total.eq(quotient + self.zero + rounding)
        below = Mux(large, negative, total < self.low)
        above = Mux(large, ~negative, total > self.high)
        m.d.sync += result.eq(Mux(below, self.low, Mux(above, self.high, total)))
        return result
