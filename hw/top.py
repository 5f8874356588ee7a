"""The whole accelerator: controller and core, with a byte stream or a UART outside."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.config import Config
from systolith.hw.controller import Controller, Indicators
from systolith.hw.core import Core
from systolith.hw.link.stream_register import StreamRegister
from systolith.hw.link.uart import UartReceiver, UartTransmitter, phase_step

__all__ = ["Accelerator", "UartAccelerator"]


class Accelerator(wiring.Component):
    """Controller and core behind a byte stream.

    Parameters
    ----------
    config : :class:`Config`
        What to build.
    build_hash : :class:`int`
        Identity of the build, 32 bits, read back by the host.
    crc_bits : :class:`int`
        8: the link takes a byte a cycle; 1: a byte in nine cycles, and less logic.

    Members
    -------
    reset : :py:`In(1)`
        Back to the state after power-up, but memories keep their content.
    rx, tx : :py:`In(stream.Signature(8))`, :py:`Out(stream.Signature(8))`
        The link's bytes, see ``docs/link.md``.
    indicators : :py:`Out(Indicators)`
        For status LEDs.
    """

    reset: In(1)
    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))
    indicators: Out(Indicators)

    def __init__(self, config: Config, build_hash: int = 0, crc_bits: int = 8):
        self.config = config
        self.crc_bits = crc_bits
        self.build_hash = build_hash
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        controller = Controller(self.config, self.build_hash, self.crc_bits)
        # it resets the core's engines in turn, and only their control: thousands of flip-flops
        # of the data paths need no reset and would only slow it down
        m.submodules.controller = ResetInserter(self.reset)(controller)
        m.submodules.core = core = Core(self.config)
        connect(m, flipped(self.rx), controller.rx)
        connect(m, controller.tx, flipped(self.tx))
        connect(m, controller.host, core.host)
        connect(m, controller.indicators, flipped(self.indicators))
        return m


class UartAccelerator(wiring.Component):
    """The accelerator behind a UART.

    Parameters
    ----------
    config : :class:`Config`
        What to build.
    clk_hz, baud : :class:`float`
        Frequency of the clock, and bits per second of the line, up to a quarter of it.
    build_hash : :class:`int`
        Identity of the build, 32 bits, read back by the host.

    Members
    -------
    reset : :py:`In(1)`
        Back to the state after power-up, but memories keep their content.
    rx, tx : :py:`In(1)`, :py:`Out(1)`
        The line; ``rx`` is asynchronous.
    indicators : :py:`Out(Indicators)`
        For status LEDs.

    Raises
    ------
    ValueError
        If the baud rate cannot be made from the clock.
    """

    reset: In(1)
    rx: In(1, init=1)
    tx: Out(1, init=1)
    indicators: Out(Indicators)

    def __init__(self, config: Config, *, clk_hz: float, baud: float, build_hash: int = 0):
        self.config = config
        self.step = phase_step(clk_hz, baud)
        self.build_hash = build_hash
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        reset = ResetInserter(self.reset)
        receiver, transmitter = UartReceiver(self.step), UartTransmitter(self.step)
        m.submodules.receiver = reset(receiver)
        m.submodules.transmitter = reset(transmitter)
        # A byte takes the line at least 40 cycles.
        m.submodules.accelerator = accelerator = Accelerator(
            self.config, self.build_hash, crc_bits=1)
        m.d.comb += accelerator.reset.eq(self.reset)
        m.submodules.received = received = reset(StreamRegister(8))
        connect(m, receiver.o, received.i)
        connect(m, received.o, accelerator.rx)
        connect(m, accelerator.tx, transmitter.i)
        connect(m, accelerator.indicators, flipped(self.indicators))
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        return m
