"""UART with a fractional bit clock: 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "phase_step"]

#: Bits of the phase accumulator; the baud rate is exact to ``clk_hz / 2**17``.
PHASE_BITS = 16


def phase_step(clk_hz: float, baud: float) -> int:
    """Return the bit clock's phase increment for each clock cycle, in ``2**-PHASE_BITS`` bits.

    Raises
    ------
    ValueError
        If a bit is shorter than 4 clock cycles (too few to find its middle), or the rate is too
        low to be met within 1 % (8N1 bears about 4 %, shared by both ends).
    """
    step = round(baud / clk_hz * 2 ** PHASE_BITS)
    if baud * 4 > clk_hz:
        raise ValueError(f"{baud:.0f} baud needs a clock of at least {4 * baud / 1e6:.1f} MHz, "
                         f"not {clk_hz / 1e6:.1f} MHz")
    if abs(step * clk_hz / 2 ** PHASE_BITS / baud - 1) > 0.01:
        raise ValueError(f"{baud:.0f} baud cannot be made within 1 % from "
                         f"{clk_hz / 1e6:.1f} MHz; use a higher rate")
    return step


class UartReceiver(wiring.Component):
    """Bytes from a serial line, sampled in the middle of each bit.

    There is no flow control: a byte not taken before the next one's first bit is overwritten, and
    a byte without stop bit is dropped. The link's CRC finds both.

    Parameters
    ----------
    step : :class:`int`
        Phase increment from :func:`phase_step`.

    Members
    -------
    rx : :py:`In(1)`
        The line, asynchronous.
    o : :py:`Out(stream.Signature(8))`
        Received bytes.
    """

    rx: In(1, init=1)
    o: Out(stream.Signature(8))

    def __init__(self, step: int):
        self.step = step
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)

        # One bit is one turn of the phase. It starts half way, so turns end in mid-bit, and a cycle
        # and a half on: from the edge to the first cycle it counts.
        first = (1 << PHASE_BITS - 1) + self.step * 3 // 2
        phase = Signal(PHASE_BITS)
        sample = Signal()
        m.d.sync += Cat(phase, sample).eq(phase + self.step)

        # Bits enter at the top of all ones: the start bit at the bottom says that eight followed.
        shift = Signal(9)
        idle = Signal(init=1)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(idle):
            m.d.sync += [phase.eq(first), sample.eq(0), idle.eq(line)]
            with m.If(~line):
                m.d.sync += [shift.eq(~0), self.o.valid.eq(0)]
        with m.Elif(sample):
            with m.If(~shift[0]):
                m.d.sync += [self.o.valid.eq(line), idle.eq(1)]
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], line))
                # A start bit that is high in its middle was a glitch.
                m.d.sync += idle.eq(shift.all() & line)
        m.d.comb += self.o.payload.eq(shift[1:])
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a serial line, back to back.

    Parameters
    ----------
    step : :class:`int`
        Phase increment from :func:`phase_step`.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
        Bytes to send.
    tx : :py:`Out(1)`
        The line, straight from a flip-flop.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, step: int):
        self.step = step
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        phase = Signal(PHASE_BITS)
        tick = Signal()
        m.d.sync += Cat(phase, tick).eq(phase + self.step)

        # Start bit, data and two ones shift out; the second one reaching the bottom ends the byte.
        shift = Signal(11, init=1)
        m.d.comb += [self.i.ready.eq(shift == 1), self.tx.eq(shift[0])]
        with m.If(self.i.ready):
            m.d.sync += [phase.eq(0), tick.eq(0)]
            with m.If(self.i.valid):
                m.d.sync += shift.eq(Cat(Const(0, 1), self.i.payload, Const(3, 2)))
        with m.Elif(tick):
            m.d.sync += shift.eq(shift[1:])
        return m
