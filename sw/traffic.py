"""What :class:`systolith.sw.jobs.Jobs` moves over the link for one image of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass

from systolith.hw.isa import csr_address
from systolith.hw.link.protocol import WORD_BYTES, frame_bytes_stored
from systolith.sw.backend import PROGRESS
from systolith.sw.program import Program

__all__ = ["Traffic", "traffic"]

#: Flags around a frame; the bytes that are escaped in it (0.8 % of random data) are not counted.
_FLAGS = 2


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that the link carries for one image, all told: to the device and from it."""

    down: int
    up: int

    @property
    def most(self) -> int:
        """Bytes of the direction that is busier."""
        return max(self.down, self.up)


def traffic(program: Program) -> Traffic:
    """Return what the driver transfers for an image: inputs, outputs, progress, submission."""
    frame_bytes = program.config.frame_bytes
    item = program.config.operand_bits // 8

    def frames(sizes: Iterator[int]) -> list[int]:
        return [min(frame_bytes, size - first) for size in sizes
                for first in range(0, size, frame_bytes)]

    def line(*payloads: int) -> int:
        return sum(frame_bytes_stored(payload) + _FLAGS for payload in payloads)

    spans = (buffer.span if program.input_delta else slice(0, buffer.elements)
             for buffer in program.inputs)
    written = [*frames((span.stop - span.start) * item for span in spans), WORD_BYTES]
    numbers = [csr_address(name) for name in PROGRESS]
    read = [*frames(buffer.elements * item for buffer in program.outputs),
            (max(numbers) + 1 - min(numbers)) * WORD_BYTES]
    none = [0]
    return Traffic(down=line(*written, *none * len(read)), up=line(*read, *none * len(written)))
