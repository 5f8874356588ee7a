"""Requests and responses as the host sees them, and which of them may pass each other."""

from dataclasses import dataclass, field
from typing import NamedTuple

from systolith.hw.isa import decode, encode
from systolith.hw.link.protocol import (
    HEADER_BYTES,
    Opcode,
    RequestHeader,
    ResponseHeader,
    Status,
    Target,
    frame_bytes_stored,
)

__all__ = ["Request", "Response", "parse_response"]


class Response(NamedTuple):
    """A packet from the device."""

    opcode: int
    sequence: int
    status: Status
    expected: int
    payload: bytes


def parse_response(packet: bytes) -> Response | None:
    """Return a response, or None if the packet cannot be one (its CRC being good)."""
    header, payload = packet[:HEADER_BYTES], packet[HEADER_BYTES:]
    if len(header) < HEADER_BYTES:
        return None
    fields = decode(ResponseHeader, int.from_bytes(header, "little"))
    known = fields["status"] in {status.value for status in Status}
    if not fields["response"] or fields["length"] != len(payload) or not known:
        return None
    return Response(fields["opcode"], fields["sequence"], Status(fields["status"]),
                    fields["expected"], payload)


@dataclass(slots=True, eq=False)
class Request:
    """One request: what it asks, and once answered, ``response``.

    ``address`` and ``length`` are in bytes, whatever is addressed; ``length`` is what to read, or
    the size of ``payload``.
    """

    opcode: Opcode
    address: int = 0
    payload: bytes = b""
    length: int = 0
    sequence: int = -1
    response: Response | None = field(default=None, repr=False)
    resent: bool = False

    @property
    def write(self) -> bool:
        """Whether the device changes state."""
        return bool(self.opcode.value & 1)

    @property
    def target(self) -> Target:
        """What the request is about."""
        return Target(self.opcode.value >> 1)

    @property
    def stored_bytes(self) -> int:
        """What the request takes in the device's receive buffer."""
        return frame_bytes_stored(len(self.payload))

    @property
    def packet(self) -> bytes:
        """Header and payload."""
        header = encode(RequestHeader, write=self.write, target=self.target,
                        sequence=self.sequence, length=self.length, address=self.address)
        return header.to_bytes(HEADER_BYTES, "little") + self.payload

    def answered_by(self, response: Response) -> bool:
        """Whether a response with this request's sequence number can be its answer."""
        carries = 0 if self.write or response.status is not Status.OK else self.length
        return response.opcode == self.opcode.value and len(response.payload) == carries

    def disturbs(self, read: "Request") -> bool:
        """Whether ``read`` could return something else if it were done again after this one.

        The device does a read again when its answer was lost, so a request that disturbs it must
        wait until the answer is there. A job may change anything.
        """
        if read.write or not self.write:
            return False
        if self.target is Target.MEMORY and read.target is Target.MEMORY:
            return (self.address < read.address + read.length
                    and read.address < self.address + self.length)
        return self.target is Target.CSR

    def describe(self) -> str:
        """Return the request in words, for messages."""
        return f"{self.opcode.name} of {self.length} bytes at {self.address:#x}"
