"""The link protocol's numbers and layouts, shared by hardware and host; see ``docs/link.md``."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum
from amaranth.lib.crc import Algorithm
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC

__all__ = [
    "ADDRESS_BITS", "CRC", "CRC_BYTES", "ESCAPE", "ESCAPE_XOR", "FLAG", "HEADER_BYTES", "RECENT",
    "WORD_BYTES", "Opcode", "RequestHeader", "ResponseHeader", "Status", "Target", "buffer_bytes",
    "frame_bytes_stored",
]

#: Byte between frames.
FLAG = 0x7E
#: Byte before a FLAG or ESCAPE inside a frame, which is then sent XOR ``ESCAPE_XOR``.
ESCAPE = 0x7D
ESCAPE_XOR = 0x20

#: CRC-32 of Ethernet and zlib over header and payload, sent little-endian.
CRC: Algorithm = CRC32_ISO_HDLC
CRC_BYTES = 4
#: Bytes of a request's and a response's header.
HEADER_BYTES = 8
#: Bytes of a status register and of an instruction word.
WORD_BYTES = 4
#: Bits of an address; the largest memory is 16 MiB.
ADDRESS_BITS = 24
#: Requests whose outcome the device remembers; the host has at most this many unanswered.
RECENT = 16


class Target(enum.Enum, shape=2):
    """What a request is about; bits 1 and 2 of its opcode."""

    CSR = 0
    MEMORY = 1
    PROGRAM = 2
    SESSION = 3


class Opcode(enum.Enum, shape=7):
    """Operations: ``target << 1 | write``."""

    READ_CSR = 0
    WRITE_CSR = 1
    READ_MEMORY = 2
    WRITE_MEMORY = 3
    WRITE_PROGRAM = 5
    HELLO = 6


class Status(enum.Enum, shape=3):
    """Outcome of a request."""

    OK = 0
    #: No such operation.
    BAD_OPCODE = 1
    #: The range is not of whole elements or words, or ends beyond what there is.
    BAD_ADDRESS = 2
    #: Nothing, more than a frame, or not what the frame carries.
    BAD_LENGTH = 3
    #: The register cannot be written.
    READ_ONLY = 4
    #: Two jobs are waiting or running already.
    QUEUE_FULL = 5
    #: Not the expected sequence number; nothing was done.
    OUT_OF_ORDER = 6


class RequestHeader(data.Struct):
    """First bytes of a frame to the device, little-endian."""

    write: unsigned(1)
    target: Target
    reserved: unsigned(4)
    response: unsigned(1)
    sequence: unsigned(16)
    #: Bytes to read, or bytes of payload.
    length: unsigned(16)
    #: First byte of the registers, the memory or the program memory; for HELLO the sequence
    #: number believed to be expected.
    address: unsigned(ADDRESS_BITS)


class ResponseHeader(data.Struct):
    """First bytes of a frame from the device, little-endian."""

    opcode: unsigned(7)
    response: unsigned(1)
    sequence: unsigned(16)
    #: Bytes of payload.
    length: unsigned(16)
    status: Status
    reserved: unsigned(5)
    #: Sequence number of the next request the device will execute.
    expected: unsigned(16)


def buffer_bytes(frame_bytes: int) -> int:
    """Return the size of the device's receive buffer: over two whole frames, a power of two.

    The device absorbs frames of ``buffer_bytes - 1`` bytes in all (unescaped, header and CRC
    included) while it executes an earlier one.
    """
    return 4 << (frame_bytes - 1).bit_length()


def frame_bytes_stored(payload_bytes: int) -> int:
    """Return what a frame with this payload takes in the device's receive buffer."""
    return HEADER_BYTES + payload_bytes + CRC_BYTES
