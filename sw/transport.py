"""Byte pipes to a device. The link above makes them reliable; nothing here needs to be."""

import contextlib
from abc import ABC, abstractmethod

import serial

__all__ = ["SerialTransport", "Transport", "TransportError"]


class TransportError(Exception):
    """The pipe cannot be opened, or broke; the message says which and what to do."""


class Transport(ABC):
    """A pipe of bytes, both ways. It may lose, corrupt, repeat or delay what it carries.

    Attributes
    ----------
    name : str
        For messages.
    """

    name: str

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send all bytes, in bounded time.

        Raises
        ------
        TransportError
            If the pipe is gone.
        """

    @abstractmethod
    def read(self, limit: int, timeout: float) -> bytes:
        """Return up to ``limit`` bytes: at least one, or none after ``timeout`` seconds.

        Raises
        ------
        TransportError
            If the pipe is gone.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the pipe; no error if it is gone already."""


class SerialTransport(Transport):
    """A serial port: 8 data bits, no parity, one stop bit, no flow control.

    Parameters
    ----------
    port : str
        Device name, such as ``/dev/ttyUSB0`` or ``COM3``, or any pyserial URL.
    baud : int
        Bits per second; the bitstream's own.

    Raises
    ------
    TransportError
        If the port cannot be opened.
    """

    #: Seconds in which even a full operating system buffer leaves at the lowest rates.
    WRITE_TIMEOUT = 5.0

    def __init__(self, port: str, baud: int) -> None:
        self.name = port
        try:
            self._serial = serial.serial_for_url(port, baudrate=baud,
                                                 write_timeout=self.WRITE_TIMEOUT)
        except (serial.SerialException, ValueError) as error:
            raise TransportError(f"cannot open {port} at {baud} baud: {error}; check the cable, "
                                 "the name and your permissions") from error

    def write(self, data: bytes) -> None:
        """Send all bytes."""
        with self._broken():
            self._serial.write(data)

    def read(self, limit: int, timeout: float) -> bytes:
        """Return what is there, waiting for the first byte."""
        with self._broken():
            self._serial.timeout = timeout
            return self._serial.read(max(1, min(limit, self._serial.in_waiting)))

    def close(self) -> None:
        """Close the port."""
        with contextlib.suppress(serial.SerialException, OSError):
            self._serial.close()

    @contextlib.contextmanager
    def _broken(self):
        try:
            yield
        except (serial.SerialException, OSError, TypeError) as error:
            raise TransportError(f"{self.name} is gone: {error}; check the cable and open it "
                                 "again") from error
