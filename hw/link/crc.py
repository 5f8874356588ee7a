"""The link's CRC-32, a byte or a bit each cycle."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.link.protocol import CRC

__all__ = ["Crc"]


class Crc(wiring.Component):
    """CRC-32 of the bytes since ``start``.

    Parameters
    ----------
    bits : :class:`int`
        8: a byte each cycle. 1: a byte in nine cycles, for a third of the logic; enough for a UART.

    Members
    -------
    start : :py:`In(1)`
        Begin anew. Only while ``ready``; a byte of the same cycle is ignored.
    data, valid, ready : :py:`In(8)`, :py:`In(1)`, :py:`Out(1)`
        The next byte, taken when both are high.
    value : :py:`Out(32)`
        CRC of the bytes taken, while ``ready``.
    match : :py:`Out(1)`
        The last four bytes were the CRC of those before them, while ``ready``.
    """

    start: In(1)
    data: In(8)
    valid: In(1)
    ready: Out(1)
    value: Out(32)
    match: Out(1)

    def __init__(self, bits: int = 8):
        if bits not in (1, 8):
            raise ValueError(f"bits must be 1 or 8, not {bits!r}")
        self.bits = bits
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.processor = processor = CRC(data_width=self.bits).create()
        m.d.comb += [
            processor.start.eq(self.start),
            self.value.eq(processor.crc),
            self.match.eq(processor.match_detected),
        ]
        if self.bits == 8:
            m.d.comb += [
                processor.data.eq(self.data), processor.valid.eq(self.valid), self.ready.eq(1),
            ]
        else:
            # Least significant bit first; a one above the byte marks its end.
            shift, ready = Signal(9, init=1), Signal(init=1)
            m.d.comb += [
                self.ready.eq(ready),
                processor.data.eq(shift[0]),
                processor.valid.eq(~self.ready),
            ]
            with m.If(~self.ready):
                m.d.sync += [shift.eq(shift[1:]), ready.eq(shift[1:] == 1)]
            with m.Elif(self.valid & ~self.start):
                m.d.sync += [shift.eq(self.data | 1 << 8), ready.eq(0)]
        return m
