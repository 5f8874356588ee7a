"""POST's arithmetic with shallow pipelines: the requantiser ends in an element, not in 32 bits."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.family import family
from systolith.hw.gowin import gowin_multiplier
from systolith.hw.latency import (
    SHALLOW_PRODUCT,
    drain_latency,
    post_latency,
    requantize_latency,
)
from systolith.hw.multiplier import delayed, mac16
from systolith.hw.post_lanes import ChannelParameters

__all__ = ["ShallowLanes"]


class ShallowLanes(wiring.Component):
    """``PostLanes`` without residuals: ``post_lanes`` requantisers, one step a cycle.

    Every register follows an adder, a shifter or a multiplier, whose cells hold it. The right
    shift keeps only the bits of which an element can be made, and whether there were others.

    Members
    -------
    start, first, last : :py:`In(1)`
        A step's sums are being read (``drain_address`` is presented in this cycle); it is the
        first, the last of its pooling window.
    step : :py:`In(range(post_steps))`
        Which slice of the columns.
    drained : :py:`In(C sums)`, ``drain_latency`` cycles after ``start``
    parameters : :py:`In(C x ChannelParameters)`
    fill, zero, low, high : In
        Static during a nest; the last three are elements.
    valid, data : Out
        Finished results, one for each ``last`` step, ``post_latency`` cycles after it.
    """

    def __init__(self, config: Config):
        self.config = c = config
        element = signed(c.operand_bits)
        super().__init__({
            "start": In(1), "first": In(1), "last": In(1), "step": In(range(c.post_steps)),
            "drained": In(data.ArrayLayout(signed(c.accumulator_bits), c.columns)),
            "parameters": In(data.ArrayLayout(ChannelParameters, c.columns)),
            "fill": In(1), "zero": In(element), "low": In(element), "high": In(element),
            "valid": Out(1), "data": Out(data.ArrayLayout(element, c.post_lanes)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        age = post_latency(c) - 1                # of the saturated result
        ages = [drain_latency(c), drain_latency(c) + 1]
        steps = [delayed(m, self.step, age, f"step{age}") for age in ages]
        alive = delayed(m, self.start, age, "alive")
        last = delayed(m, self.last, age, "last")
        better = alive & delayed(m, self.first, age, "first")
        for lane in range(c.post_lanes):
            result = self._lane(m, platform, lane, *steps)
            best = self.data[lane]
            with m.If(self.fill):
                m.d.sync += best.eq(self.zero)
            with m.Elif(better | (alive & (result > best))):
                m.d.sync += best.eq(result)
        m.d.sync += self.valid.eq(alive & last)
        return m

    def _lane(self, m, platform, lane, bias_step, scale_step):
        """Build one lane up to its saturated result."""
        c = self.config
        columns = [s * c.post_lanes + lane for s in range(c.post_steps)]
        drained = Array(self.drained[n] for n in columns)
        parameters = [self.parameters[n] for n in columns]

        def parameter(name, step):
            return Array(getattr(p, name) for p in parameters)[step]

        biased = Signal(signed(32), name=f"biased{lane}")
        x, factor = Signal(signed(32), name=f"x{lane}"), Signal(31, name=f"factor{lane}")
        m.d.sync += biased.eq(drained[bias_step] + parameter("bias", bias_step))
        m.d.comb += [x.eq(biased << parameter("left", scale_step)),
                     factor.eq(parameter("multiplier", scale_step))]
        multiply = {"ice40": _high_product_ice40, "gowin": _high_product_gowin}.get(
            family(platform), _high_product)
        high = multiply(m, x, factor, f"high{lane}")
        right = delayed(m, parameter("right", scale_step), requantize_latency(c), f"right{lane}")
        return self._saturate(m, lane, high, *self._divide(m, lane, high, right))

    def _divide(self, m, lane, high, right):
        """Return ``high >> right``, what rounding adds, and whether it is far too large.

        The quotient has two bits more than an element, so that with any zero point what is cut
        off was too large. Rounding is to nearest, ties away from zero: of the bits shifted out the
        upper one decides, for negative values only if another one is set.
        """
        width = self.config.operand_bits + 2
        value, lost, over = Cat(0, high).as_signed(), Signal(5), Signal(5)
        for stage in reversed(range(5)):
            by = 1 << stage
            out = Signal(signed(width + by), name=f"shifted{lane}_{stage}")
            whole = Mux(right[stage], value >> by, value)
            kept = whole[width + by - 1:]        # bits that must all be the sign
            m.d.comb += [out.eq(whole), lost[stage].eq(right[stage] & value[:by].any()),
                         over[stage].eq(kept.any() & ~kept.all())]
            value = out
        quotient = Signal(signed(width), name=f"quotient{lane}")
        rounding, large = Signal(name=f"rounding{lane}"), Signal(name=f"large{lane}")
        m.d.sync += [quotient.eq(value[1:]), large.eq(over.any()),
                     rounding.eq(value[0] & (~high[-1] | lost.any()))]
        return quotient, rounding, large

    def _saturate(self, m, lane, high, quotient, rounding, large):
        """Add the zero point and clamp."""
        c = self.config
        negative = Signal(name=f"negative{lane}")
        total = Signal(signed(c.operand_bits + 4), name=f"total{lane}")
        result = Signal(signed(c.operand_bits), name=f"result{lane}")
        m.d.sync += negative.eq(high[-1])
        m.d.comb += total.eq(quotient + self.zero + rounding)
        below = Mux(large, negative, total < self.low)
        above = Mux(large, ~negative, total > self.high)
        m.d.sync += result.eq(Mux(below, self.low, Mux(above, self.high, total)))
        return result


def _high_product(m, x, factor, name):
    """Return ``floor(x * factor + 2**30 >> 31)``, ``SHALLOW_PRODUCT`` cycles later."""
    high = Signal(signed(32), name=name)
    m.d.comb += high.eq((x * factor + (1 << 30)) >> 31)
    return delayed(m, high, SHALLOW_PRODUCT, name)


def _high_product_gowin(m, x, factor, name):
    """Return the same from four MULT18X18s; two cycles are theirs, two those of sums."""
    def times(a, b, part):
        return gowin_multiplier(m, a, b, pipeline=False, name=f"{name}_{part}")

    x_low, x_high, f_low, f_high = x[:18], x[18:].as_signed(), factor[:18], factor[18:]
    low = times(x_low, f_low, "low") + (1 << 30)
    middle = times(x_high, f_low, "high_low") + times(x_low, f_high, "low_high")
    carried, high = Signal(signed(38), name=f"{name}_carried"), Signal(signed(32), name=name)
    m.d.sync += carried.eq(middle + low[18:])
    top = delayed(m, times(x_high, f_high, "top"), 1, f"{name}_top_late")
    m.d.sync += high.eq(((top << 18) + carried) >> 13)
    return high


def _high_product_ice40(m, x, factor, name):
    """Return the same from four SB_MAC16s, whose adders do all but one of the sums.

    With halves of 16 bits the middle ones take the upper half of the lower product and the
    rounding bit, the upper one takes the upper half of the middle ones' sum, a cycle later. Every
    output is registered: place and route does not know a way through an SB_MAC16.
    """
    product = {"MODE_8x8": 0, "B_SIGNED": 0, "PIPELINE_16x16_MULT_REG2": 1}
    early = product | {"TOP_8x8_MULT_REG": 0, "BOT_8x8_MULT_REG": 0}
    late = product | {"PIPELINE_16x16_MULT_REG1": 1}
    # product plus C and D, registered
    adding = {"TOPADDSUB_LOWERINPUT": 2, "TOPADDSUB_UPPERINPUT": 1, "TOPADDSUB_CARRYSELECT": 2,
              "BOTADDSUB_LOWERINPUT": 2, "BOTADDSUB_UPPERINPUT": 1, "BOTADDSUB_CARRYSELECT": 0,
              "TOPOUTPUT_SELECT": 1, "BOTOUTPUT_SELECT": 1}
    x_low, x_high, f_low, f_high = x[:16], x[16:], factor[:16], factor[16:]
    low = mac16(m, x_low, f_low, f"{name}_low", A_SIGNED=0, TOPOUTPUT_SELECT=3, BOTOUTPUT_SELECT=3,
                **early)
    middle = (mac16(m, x_high, f_low, f"{name}_high_low", d=low[16:], A_SIGNED=1, **early,
                    **adding),
              mac16(m, x_low, f_high, f"{name}_low_high", d=1 << 14, A_SIGNED=0, **early,
                    **adding))
    crossed = Signal(signed(33), name=f"{name}_crossed")
    m.d.comb += crossed.eq(middle[0].as_signed() + middle[1].as_signed())
    top = mac16(m, x_high, f_high, f"{name}_top", c=crossed[-1].replicate(16), d=crossed[16:32],
                A_SIGNED=1, **late, **adding)
    return Cat(delayed(m, crossed[15], 1, f"{name}_below"), top[:31]).as_signed()
