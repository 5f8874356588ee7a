"""Frames on a byte pipe: flags, byte stuffing and CRC-32 (PPP's HDLC-like framing).

References
----------
RFC 1662, sections 3.1 and 4.2 (the CRC here is Ethernet's, sent little-endian).
"""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.link.crc import Crc
from systolith.hw.link.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG

__all__ = ["Deframer", "Framer", "PacketByte", "ReceivedByte"]


class PacketByte(data.Struct):
    """A byte of a packet; ``last`` marks the end."""

    data: unsigned(8)
    last: unsigned(1)


class ReceivedByte(data.Struct):
    """A byte of a frame, its CRC included; with ``last``, ``good`` says whether the CRC agrees."""

    data: unsigned(8)
    last: unsigned(1)
    good: unsigned(1)


def _reserved(byte):
    """Return whether a byte would mean something else inside a frame."""
    return (byte == FLAG) | (byte == ESCAPE)


class Deframer(wiring.Component):
    """Frames from a byte pipe, escapes removed, CRC checked.

    Any flag starts anew, so it is in step again after the first flag that follows an error.
    Empty frames (two flags in a row) are skipped. A frame cut short by an escape and a flag is bad.
    A frame's last byte leaves when its closing flag arrives.

    Parameters
    ----------
    crc_bits : :class:`int`
        8: a byte a cycle; 1: a byte in nine cycles (see :class:`Crc`).

    Members
    -------
    i : :py:`In(stream.Signature(8))`
        The pipe.
    o : :py:`Out(stream.Signature(ReceivedByte))`
        Header, payload and CRC.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(ReceivedByte))

    def __init__(self, crc_bits: int = 8):
        self.crc_bits = crc_bits
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc(self.crc_bits)

        # One byte is held back: only the byte after it tells whether it was the last.
        held = Signal()
        byte = Signal(8)
        escaped = Signal()
        is_flag = self.i.payload == FLAG
        is_escape = self.i.payload == ESCAPE
        plain = self.i.payload ^ (escaped << (ESCAPE_XOR.bit_length() - 1))
        take = Signal()
        m.d.comb += [
            self.o.valid.eq(held & self.i.valid & ~is_escape & crc.ready),
            self.o.p.data.eq(byte),
            self.o.p.last.eq(is_flag),
            self.o.p.good.eq(crc.match & ~escaped),
            self.i.ready.eq(crc.ready & (self.o.ready | ~self.o.valid)),
            take.eq(self.i.valid & self.i.ready),
            crc.start.eq(take & is_flag),
            crc.data.eq(plain),
            crc.valid.eq(take & ~is_flag & ~is_escape),
        ]
        with m.If(take):
            m.d.sync += escaped.eq(is_escape)
            with m.If(is_flag):
                m.d.sync += held.eq(0)
            with m.Elif(~is_escape):
                m.d.sync += [held.eq(1), byte.eq(plain)]
        return m


class Framer(wiring.Component):
    """Packets to frames: a flag, the escaped bytes and their CRC, a flag.

    Parameters
    ----------
    crc_bits : :class:`int`
        8: a byte a cycle, escapes included; 1: a byte in nine cycles (see :class:`Crc`).

    Members
    -------
    i : :py:`In(stream.Signature(PacketByte))`
        Header and payload.
    o : :py:`Out(stream.Signature(8))`
        The pipe.
    """

    i: In(stream.Signature(PacketByte))
    o: Out(stream.Signature(8))

    def __init__(self, crc_bits: int = 8):
        self.crc_bits = crc_bits
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc(self.crc_bits)

        # States offer a byte; here it is escaped, and accepted in its second cycle then.
        byte = Signal(8)
        valid = Signal()
        reserved = Signal()                      # the byte must not appear inside a frame
        sent = Signal()
        escaped = Signal()
        special = Signal()
        m.d.comb += [
            special.eq(reserved & ~escaped),
            self.o.valid.eq(valid),
            self.o.payload.eq(byte ^ (escaped << (ESCAPE_XOR.bit_length() - 1))),
            sent.eq(valid & self.o.ready & ~special),
        ]
        with m.If(special):
            m.d.comb += self.o.payload.eq(ESCAPE)
        with m.If(valid & self.o.ready):
            m.d.sync += escaped.eq(special)

        count = Signal(range(CRC_BYTES))
        sums = crc.value.word_select(count, 8)
        m.d.comb += crc.data.eq(self.i.p.data)
        with m.FSM():
            with m.State("OPEN"):
                m.d.comb += [byte.eq(FLAG), valid.eq(self.i.valid), crc.start.eq(1)]
                with m.If(sent):
                    m.next = "PACKET"
            with m.State("PACKET"):
                m.d.comb += [
                    byte.eq(self.i.p.data), reserved.eq(_reserved(self.i.p.data)),
                    valid.eq(self.i.valid & crc.ready),
                    self.i.ready.eq(sent), crc.valid.eq(sent),
                ]
                with m.If(sent & self.i.p.last):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [byte.eq(sums), reserved.eq(_reserved(sums)), valid.eq(crc.ready)]
                with m.If(sent):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == CRC_BYTES - 1):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [byte.eq(FLAG), valid.eq(1)]
                with m.If(sent):
                    m.next = "OPEN"
        return m
