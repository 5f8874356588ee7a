"""The loss unit: logits of a sample in, the gradient of the cross-entropy by them out."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.exp2 import FRACTION_BITS, LOG2E
from systolith.hw.exponential import Exponential
from systolith.hw.isa import LOSS_CLASSES
from systolith.hw.latency import EXPONENTIAL_LATENCY, RECIPROCAL_CYCLES, SCALED_LATENCY
from systolith.hw.multiplier import multiply_wide, part_bits
from systolith.hw.reciprocal import Reciprocal

__all__ = ["ClassValue", "Softmax"]

#: Gradients that wait to be taken, at most: more than are under way to their queue.
_QUEUE = 16
#: Bits of an element, and of the fraction of a probability below it in a product.
_ELEMENT, _BELOW = 16, 31


class ClassValue(data.Struct):
    """A number of one class: logit or gradient."""

    value: signed(_ELEMENT)
    #: It is the sample's last.
    last: unsigned(1)


class Softmax(wiring.Component):
    """``o = softmax(i) - onehot(label)``: ``numerics.cross_entropy`` of training, bit for bit.

    One sample after the other, each in three rounds over its classes. The first keeps the logits
    and finds the largest. The second puts ``2**-u`` of their distances to it in their place, and
    adds these powers. After a division the third multiplies them by the reciprocal of the sum.
    Both multiplications use the same multipliers. A sample of k classes takes
    ``softmax_cycles(k)`` cycles when nothing waits.

    Parameters
    ----------
    classes : :class:`int`
        Most of a sample, a power of two.

    Members
    -------
    i : :py:`In(stream.Signature(ClassValue))`
        Logits.
    o : :py:`Out(stream.Signature(ClassValue))`
        Gradients, with 15 fraction bits. The next sample's logits are taken when all are.
    shift : :py:`In(5)`
        ``5 - min(exponent of the logits, 5)``. Static while a sample is inside, as is ``label``.
    label : :py:`In(range(classes))`
        The right class.
    sum : :py:`Out(32)`
        ``2**15`` times the sum of ``exp(logit - largest)``. There with the gradients.
    behind : :py:`Out(16)`
        The largest logit less the right one: with ``sum`` what the loss is made of. There with
        the gradients.
    right : :py:`Out(1)`
        The first of the largest logits is the right one. There with the gradients.
    """

    def __init__(self, classes: int = LOSS_CLASSES):
        self.classes = classes
        super().__init__({
            "i": In(stream.Signature(ClassValue)), "o": Out(stream.Signature(ClassValue)),
            "shift": In(5), "label": In(range(classes)), "sum": Out(32), "behind": Out(16),
            "right": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.values = values = BlockRam(width=_ELEMENT, depth=self.classes)
        m.submodules.exponential = exponential = Exponential()
        m.submodules.queue = queue = SyncFIFOBuffered(width=_ELEMENT + 1, depth=_QUEUE)
        m.submodules.reciprocal = reciprocal = Reciprocal(FRACTION_BITS + 1 + len(self.label))

        # a round reads class after class; what it makes of them arrives in the same order
        reading, arriving, gradients = Signal(), Signal(), Signal()
        arrived, last_class = (Signal.like(self.label, name=n) for n in ("arrived", "last_class"))
        largest, factor = Signal(signed(_ELEMENT)), Signal(RECIPROCAL_CYCLES)
        at_end = arrived == last_class
        with m.If(arriving):
            m.d.sync += arrived.eq(arrived + 1)
        m.d.comb += [
            values.read.eq(1), values.write_address.eq(arrived),
            values.write.eq(arriving & ~gradients),
            values.write_data.eq(Mux(self.i.ready, self.i.payload.value, exponential.power)),
            exponential.shift.eq(self.shift), reciprocal.divisor.eq(self.sum),
        ]
        power_there, product_there = self._read(m, values, reading, last_class, gradients)

        operand = Signal(_ELEMENT, reset_less=True)
        m.d.sync += operand.eq(Mux(gradients, values.data, largest - values.data.as_signed()))
        product = self._scaled(m, platform, operand, factor)
        m.d.comb += exponential.scaled.eq(product)
        self._deliver(m, queue, product, product_there & gradients, arrived == self.label, at_end)

        self._meet(m, arrived, largest)
        with m.FSM() as rounds:
            m.d.comb += gradients.eq(rounds.ongoing("GRADIENTS"))
            with m.State("LOGITS"):
                m.d.comb += [self.i.ready.eq(1), arriving.eq(self.i.valid)]
                with m.If(arriving & self.i.payload.last):
                    m.d.sync += [last_class.eq(arrived), arrived.eq(0), reading.eq(1),
                                 factor.eq(LOG2E), self.sum.eq(0)]
                    m.next = "POWERS"
            with m.State("POWERS"):
                m.d.comb += arriving.eq(power_there)
                with m.If(arriving):
                    m.d.sync += self.sum.eq(self.sum + exponential.power)
                    with m.If(at_end):
                        m.d.sync += arrived.eq(0)
                        m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += reciprocal.start.eq(1)
                m.next = "RECIPROCAL"
            with m.State("RECIPROCAL"):
                with m.If(reciprocal.done):
                    m.d.sync += [factor.eq(reciprocal.quotient), reading.eq(1)]
                    m.next = "GRADIENTS"
            with m.State("GRADIENTS"):
                m.d.comb += arriving.eq(product_there)
                with m.If(self.o.valid & self.o.ready & self.o.payload.last):
                    m.d.sync += arrived.eq(0)
                    m.next = "LOGITS"
        return m

    def _meet(self, m, arrived, largest):
        """Keep the largest logit and that of the right class."""
        value, right = self.i.payload.value, Signal(signed(_ELEMENT), reset_less=True)
        taken = self.i.valid & self.i.ready
        with m.If(taken & ((arrived == 0) | (value > largest))):
            m.d.sync += [largest.eq(value), self.right.eq(arrived == self.label)]
        with m.If(taken & (arrived == self.label)):
            m.d.sync += right.eq(value)
        m.d.comb += self.behind.eq(largest - right)

    def _read(self, m, values, reading, last_class, gradients):
        """Read class after class; return when a power is there, and when a rounded product is.

        Gradients are not made faster than they are taken.
        """
        read, inside = Signal.like(last_class, name="read"), Signal(range(_QUEUE + 1))
        issued, final = Signal(), read == last_class
        m.d.comb += [values.read_address.eq(read),
                     issued.eq(reading & (~gradients | (inside != _QUEUE)))]
        m.d.sync += inside.eq(inside + (issued & gradients) - (self.o.valid & self.o.ready))
        with m.If(issued):
            m.d.sync += [read.eq(Mux(final, 0, read + 1)), reading.eq(~final)]

        flight = Signal(SCALED_LATENCY + EXPONENTIAL_LATENCY)
        rounded = flight[:SCALED_LATENCY + 1]
        m.d.sync += flight.eq(Mux(gradients, Cat(issued, rounded[:-1]), Cat(issued, flight)))
        return flight[-1], rounded[-1]

    def _scaled(self, m, platform, operand, factor):
        """Return ``operand * factor``."""
        bits = part_bits(platform)
        low, high = (multiply_wide(m, platform, operand, part, name=name)
                     for part, name in ((factor[:bits], "low"), (factor[bits:], "high")))
        product = Signal(len(operand) + len(factor), reset_less=True)
        m.d.sync += product.eq(low + (high << bits))
        return product

    def _deliver(self, m, queue, product, there, right, last):
        """Round a product to a probability and put its gradient into the queue."""
        one = 1 << FRACTION_BITS
        probability = Signal(range(one + 1), reset_less=True)
        gradient = Signal(ClassValue)
        m.d.sync += probability.eq(product[_BELOW:] + product[_BELOW - 1])
        m.d.comb += [
            gradient.value.eq(Mux(right, probability - one, Mux(probability == one, one - 1,
                                                                probability))),
            gradient.last.eq(last), queue.w_data.eq(gradient), queue.w_en.eq(there),
            self.o.valid.eq(queue.r_rdy), self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]
