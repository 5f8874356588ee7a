"""Frames on a byte pipe, host side: the inverse of ``hw/link/framing.py``."""

import zlib

from systolith.hw.link.protocol import CRC_BYTES, ESCAPE, ESCAPE_XOR, FLAG

__all__ = ["FrameDecoder", "encode_frame"]

_FLAG = bytes((FLAG,))
_ESCAPES = [(bytes((byte,)), bytes((ESCAPE, byte ^ ESCAPE_XOR))) for byte in (ESCAPE, FLAG)]


def encode_frame(packet: bytes) -> bytes:
    """Return a packet with its CRC, escaped, between flags."""
    body = packet + zlib.crc32(packet).to_bytes(CRC_BYTES, "little")
    for plain, escaped in _ESCAPES:
        body = body.replace(plain, escaped)
    return _FLAG + body + _FLAG


class FrameDecoder:
    """Packets from received bytes; whatever has no good CRC is skipped and counted.

    Attributes
    ----------
    errors : int
        Frames dropped so far.
    """

    #: A stretch this long without a flag is noise; it bounds what is kept.
    LIMIT = 1 << 17

    def __init__(self) -> None:
        self.errors = 0
        self._rest = b""

    def feed(self, received: bytes) -> list[bytes]:
        """Return the packets completed by ``received``, without their CRC."""
        *bodies, self._rest = (self._rest + received).split(_FLAG)
        if len(self._rest) > self.LIMIT:
            self._rest = b""
            self.errors += 1
        packets = [self._check(body) for body in bodies if body]
        return [packet for packet in packets if packet is not None]

    def _check(self, body: bytes) -> bytes | None:
        for plain, escaped in reversed(_ESCAPES):
            body = body.replace(escaped, plain)
        packet, crc = body[:-CRC_BYTES], body[-CRC_BYTES:]
        if len(crc) == CRC_BYTES and zlib.crc32(packet) == int.from_bytes(crc, "little"):
            return packet
        self.errors += 1
        return None
