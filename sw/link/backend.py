"""A device behind a link, as the driver sees it."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from systolith.hw.isa import csr_address
from systolith.hw.link.protocol import WORD_BYTES, Opcode
from systolith.sw.backend import Backend, DeviceError
from systolith.sw.link.link import Link, LinkError
from systolith.sw.link.requests import Request
from systolith.sw.transport import TransportError

__all__ = ["LinkBackend", "device_errors"]

#: Frame length every device takes; the device's own is used once it is known.
_SMALLEST_FRAME = 16


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Turn what goes wrong on the way to a device into :class:`DeviceError`."""
    try:
        yield
    except (LinkError, TransportError) as error:
        raise DeviceError(str(error)) from error


class LinkBackend(Backend):
    """Registers and memories over a :class:`Link`; long transfers are cut into frames.

    Parameters
    ----------
    link : Link
        An open session; it is closed with this backend.

    Raises
    ------
    DeviceError
        If what answers is no Systolith.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._frame_bytes = _SMALLEST_FRAME
        identity = self.identify()
        self._frame_bytes = identity["LIMITS"] >> 16
        link.set_frame_bytes(self._frame_bytes)
        self._element = np.dtype(f"<i{(identity['ARRAY'] >> 16 & 0xFF) // 8}")

    def fetch_csrs(self, names: tuple[str, ...]) -> Callable[[], dict[str, int]]:
        """Begin to read registers, in one go from the lowest to the highest number."""
        numbers = [csr_address(name) for name in names]
        first = min(numbers)
        fetched = self._fetch(Opcode.READ_CSR, first * WORD_BYTES,
                              (max(numbers) + 1 - first) * WORD_BYTES)

        def registers() -> dict[str, int]:
            values = np.frombuffer(fetched(), "<u4")
            return {name: int(values[number - first])
                    for name, number in zip(names, numbers, strict=True)}
        return registers

    def write_csr(self, name: str, value: int) -> None:
        """Write a 32-bit register."""
        self._write(Opcode.WRITE_CSR, csr_address(name) * WORD_BYTES,
                    int(value).to_bytes(WORD_BYTES, "little"))

    def write_memory(self, address: int, elements: np.ndarray) -> None:
        """Write elements."""
        self._write(Opcode.WRITE_MEMORY, address * self._element.itemsize,
                    np.ascontiguousarray(elements, self._element).tobytes())

    def fetch_memory(self, address: int, count: int) -> Callable[[], np.ndarray]:
        """Begin to read elements."""
        size = self._element.itemsize
        fetched = self._fetch(Opcode.READ_MEMORY, address * size, count * size)
        return lambda: np.frombuffer(fetched(), self._element)

    def write_program(self, words: np.ndarray) -> None:
        """Write instruction words."""
        self._write(Opcode.WRITE_PROGRAM, 0, np.ascontiguousarray(words, "<u4").tobytes())

    def flush(self) -> None:
        """Wait for the answers of all writes."""
        with device_errors():
            self.link.flush()

    def close(self) -> None:
        """Close the link."""
        self.link.close()

    def _write(self, opcode: Opcode, address: int, payload: bytes) -> None:
        with device_errors():
            for first in range(0, len(payload), self._frame_bytes):
                piece = payload[first:first + self._frame_bytes]
                self.link.send(Request(opcode, address + first, piece, len(piece)))

    def _fetch(self, opcode: Opcode, address: int, length: int) -> Callable[[], bytes]:
        """Send the requests of a read; what is returned waits for their answers."""
        requests = [
            Request(opcode, address + first, length=min(self._frame_bytes, length - first))
            for first in range(0, length, self._frame_bytes)]
        with device_errors():
            for request in requests:
                self.link.send(request)

        def payload() -> bytes:
            with device_errors():
                return b"".join(map(self.link.finish, requests))
        return payload
