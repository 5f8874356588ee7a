"""POST's arithmetic: sums of a few columns become elements, with or without a residual."""

from amaranth.hdl import Array, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import (
    DRAIN_LATENCY,
    OPERAND_INPUT,
    POST_LATENCY,
    REQUANTIZE_LATENCY,
    RESIDUAL_CYCLES,
    RESIDUAL_LATENCY,
    RESULT_AGE,
    RESULT_WAIT,
    SUM_INPUT,
    TOTAL_WAIT,
    post_read_latency,
)
from systolith.hw.multiplier import delayed
from systolith.hw.replica import copy_of, replica
from systolith.hw.requantize import Requantize

__all__ = ["ChannelParameters", "PostLanes", "ResidualScale"]

#: TFLite's int8 ADD lifts its operands by this many bits (``numerics.ADD_LEFT_SHIFT``).
_LIFT = 20
#: Slots of the requantiser, in the order in which they follow one another.
_SUM, _OPERAND, _TOTAL = range(RESIDUAL_CYCLES)


class ChannelParameters(data.Struct):
    """What rescales one output channel."""

    bias: signed(32)
    multiplier: unsigned(31)
    left: unsigned(4)
    right: unsigned(5)


class ResidualScale(data.Struct):
    """One rescaling of a residual addition."""

    multiplier: unsigned(31)
    right: unsigned(5)


class PostLanes(wiring.Component):
    """``post_lanes`` requantisers side by side, each with saturation and a running maximum.

    Without a residual: one step a cycle, ``POST_LATENCY`` cycles. With a residual a step may start
    every ``RESIDUAL_CYCLES`` cycles (in slot 0) and takes ``RESIDUAL_LATENCY``: the requantiser's
    slots take turns, and delays bring every operand to its slot.

    Members
    -------
    start, first, last : :py:`In(1)`
        A step's sums are being read (``drain_address`` is presented in this cycle); it is the
        first, the last of its pooling window.
    step : :py:`In(range(post_steps))`
        Which slice of the columns.
    drained : :py:`In(C sums)`, :py:`DRAIN_LATENCY` cycles after ``start``
    residual : :py:`In(Q elements)`, :py:`post_read_latency` cycles after ``start``
    parameters : :py:`In(C x ChannelParameters)`
    fill, zero, low, high, residual_zero, scales, sum_zero, sum_low, sum_high : In
        Static during a nest; ``scales`` are those of an operand and of the sum.
    scales_residual : :py:`In(1)`
        Static. The residual is the operand that is rescaled, and half of the result is added.
    with_residual : :py:`In(1)`
        Static.
    next_slots : :py:`In(RESIDUAL_CYCLES)`
        One bit is set, each cycle the next; without a residual it is bit 0.
    valid, data : Out
        Finished results, one for each ``last`` step.
    """

    def __init__(self, config: Config):
        self.config = c = config
        self.requantizers = [Requantize(c) for _ in range(c.post_lanes)]
        wide = signed(16)
        super().__init__({
            "start": In(1), "first": In(1), "last": In(1), "step": In(range(c.post_steps)),
            "drained": In(data.ArrayLayout(signed(c.accumulator_bits), c.columns)),
            "residual": In(data.ArrayLayout(signed(c.operand_bits), c.post_lanes)),
            "parameters": In(data.ArrayLayout(ChannelParameters, c.columns)),
            "fill": In(1), "zero": In(wide), "low": In(wide), "high": In(wide),
            "residual_zero": In(wide), "scales": In(data.ArrayLayout(ResidualScale, 2)),
            "scales_residual": In(1),
            "sum_zero": In(wide), "sum_low": In(wide), "sum_high": In(wide),
            "with_residual": In(1), "next_slots": In(RESIDUAL_CYCLES), "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(c.operand_bits), c.post_lanes)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        alive = _history(m, self.start & ~self.with_residual, POST_LATENCY, "alive")
        first = _history(m, self.first, POST_LATENCY, "first")
        last = _history(m, self.last, POST_LATENCY, "last")
        step = _history(m, self.step, DRAIN_LATENCY + 2, "step")
        if c.residual:
            self._scale = replica(ResidualScale, name="scale")
            # an operand of the slot is taken over into the requantiser's input
            next_slots = delayed(m, self.next_slots, (SUM_INPUT - 1) % RESIDUAL_CYCLES, "slots")
            self._choose_scale(m, next_slots)
        # static: one way to all lanes
        self._zero = delayed(m, self.zero, 1, "zero")
        for lane in range(c.post_lanes):
            slots = copy_of(m, next_slots, name=f"slots{lane}") if c.residual else None
            result = self._lane(m, lane, step, slots)
            self._pool(m, lane, result, alive, first)
        finishes = alive[POST_LATENCY - 1] & last[POST_LATENCY - 1]
        if c.residual:
            adding = _history(m, self.start & self.with_residual, RESIDUAL_LATENCY - 1, "adding")
            finishes |= adding[RESIDUAL_LATENCY - 1]
        m.d.sync += self.valid.eq(finishes)
        return m

    def _bounds(self, m, lane, slots):
        """Return zero point, least and greatest value of the results that leave the requantiser."""
        zero, low, high = (replica(signed(16), name=f"{name}{lane}")
                           for name in ("zero_now", "low_now", "high_now"))
        m.d.sync += [zero.eq(self._zero), low.eq(self.low), high.eq(self.high)]
        if self.config.residual:
            # an operand of slot k leaves 1 + latency cycles later; its zero point is added then, it
            # meets its bounds in the cycle after
            leaving = _TOTAL + REQUANTIZE_LATENCY
            with m.If(self.with_residual & slots[leaving % RESIDUAL_CYCLES]):
                m.d.sync += zero.eq(self.sum_zero)
            with m.If(self.with_residual & slots[(leaving + 1) % RESIDUAL_CYCLES]):
                m.d.sync += [low.eq(self.sum_low), high.eq(self.sum_high)]
        return zero, low, high

    def _lane(self, m, lane, step, slots):
        """Build one lane up to its saturated result."""
        c = self.config
        columns = [s * c.post_lanes + lane for s in range(c.post_steps)]
        drained = Array(self.drained[n] for n in columns)
        parameters = [self.parameters[n] for n in columns]

        def parameter(name, age):
            return Array(getattr(p, name) for p in parameters)[step[age]]

        raw = Signal(signed(32), name=f"raw{lane}")
        biased = Signal(signed(32), name=f"biased{lane}")
        m.d.sync += [raw.eq(drained[step[DRAIN_LATENCY]]),
                     biased.eq(raw + parameter("bias", DRAIN_LATENCY + 1))]

        m.submodules[f"requantize{lane}"] = scale = self.requantizers[lane]
        age = DRAIN_LATENCY + 2
        m.d.sync += [scale.x.eq(biased), scale.multiplier.eq(parameter("multiplier", age)),
                     scale.left.eq(parameter("left", age)), scale.right.eq(parameter("right", age))]

        zeroed = Signal(signed(33), name=f"zeroed{lane}")
        result = Signal(signed(c.operand_bits), name=f"result{lane}")
        zero, low, high = self._bounds(m, lane, slots)
        kept, below, above = (
            Signal(shape, name=f"{name}{lane}", reset_less=True) for name, shape in
            (("kept", c.operand_bits), ("below", 1), ("above", 1)))
        least, most = (delayed(m, bound[:c.operand_bits], 1, f"{name}{lane}")
                       for name, bound in (("least", low), ("most", high)))
        m.d.sync += [
            zeroed.eq(scale.y + zero),
            kept.eq(zeroed), below.eq(_less(zeroed, low)), above.eq(_less(high, zeroed)),
            result.eq(Mux(below, least, Mux(above, most, kept))),
        ]
        if c.residual:
            self._residual(m, lane, scale, result, slots)
        return result

    def _residual(self, m, lane, scale, result, slots):
        """Give the other two slots of the requantiser their operands and scales."""
        # operands less their zero points, two cycles before the slot of one of them
        age = OPERAND_INPUT - 3 - post_read_latency(self.config)
        read = _history(m, self.residual[lane], age, f"residual{lane}_")[age]
        value = _history(m, result, RESULT_WAIT, f"again{lane}_")[RESULT_WAIT]
        width = signed(32 - _LIFT)
        residual, again = (Signal(width, name=f"{name}{lane}") for name in ("residual", "again"))
        total = Signal(signed(32), name=f"total{lane}")
        half = self._kept(m, lane, Mux(self.scales_residual, again, residual), slots)
        m.d.sync += [residual.eq(read - self.residual_zero), again.eq(value - self._zero),
                     total.eq(scale.y + (half << (_LIFT - 1)))]
        total = _history(m, total, TOTAL_WAIT, f"total{lane}_")[TOTAL_WAIT]
        operand = Signal(signed(32), name=f"operand{lane}", reset_less=True)
        rescaled = Mux(self.scales_residual, residual, again)
        for slot, x in ((_OPERAND, rescaled << _LIFT), (_TOTAL, total)):
            with m.If(slots[slot - 1]):
                m.d.sync += operand.eq(x)

        chosen = data.View(ResidualScale, copy_of(m, self._scale.as_value(), name=f"scale{lane}"))
        with m.If(~slots[_SUM]):
            m.d.sync += [scale.x.eq(operand), scale.multiplier.eq(chosen.multiplier),
                         scale.left.eq(0), scale.right.eq(chosen.right)]

    def _kept(self, m, lane, value, slots):
        """Return the operand that is not rescaled when the other one has been.

        They come together, one pair in the turn of the slots.
        """
        for i in range(-(-(2 + REQUANTIZE_LATENCY) // RESIDUAL_CYCLES)):
            later = Signal(signed(32 - _LIFT), name=f"half{lane}_{i}", reset_less=True)
            with m.If(slots[_OPERAND - 1]):
                m.d.sync += later.eq(value)
            value = later
        return value

    def _choose_scale(self, m, next_slots):
        """Keep the scale of the slot after the next one; a cycle later every lane has it."""
        slots = copy_of(m, next_slots, name="slots")
        for slot, scale in zip((_OPERAND, _TOTAL), self.scales, strict=True):
            with m.If(slots[slot - 2]):
                m.d.sync += self._scale.eq(scale)

    def _pool(self, m, lane, result, alive, first):
        """Keep the maximum over a pooling window; a fill's value takes its place."""
        best = self.data[lane]
        # for the result that comes: it may be taken, it is taken whatever it is
        may, must = (replica(1, name=f"{name}{lane}") for name in ("may_take", "must_take"))
        before = RESULT_AGE - 1
        m.d.sync += [may.eq(alive[before]),
                     must.eq(self.with_residual | (alive[before] & first[before]))]
        with m.If(self.fill):
            m.d.sync += best.eq(self._zero)
        with m.Elif(must | (may & _less(best, result))):
            m.d.sync += best.eq(result)


def _less(x, y):
    """Return ``x < y``: the sign of the difference, which a chain of carries has at its end."""
    return (x - y)[-1]


def _history(m, value, cycles, name):
    """Return ``value`` now and in each of the last ``cycles`` cycles: item n is n cycles old."""
    values = [value]
    for i in range(cycles):
        later = Signal.like(value, name=f"{name}{i + 1}")
        m.d.sync += later.eq(values[-1])
        values.append(later)
    return values
