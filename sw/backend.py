"""What a device can do, whatever it is: the boundary between the driver and a device."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from systolith.hw.isa import MAGIC
from systolith.sw.errors import SystolithError

__all__ = ["IDENTITY", "PROGRESS", "Backend", "DeviceError"]

#: Registers that say what a device is; they never change.
IDENTITY = ("MAGIC", "ISA_VERSION", "CONFIG_HASH", "BUILD_HASH", "ARRAY", "MEMORY", "LIMITS")
#: Registers that say how far a device is.
PROGRESS = ("STATUS", "DONE", "CYCLES", "ENTRIES", "FAULT_PC")


class DeviceError(SystolithError):
    """A device that is not there, is not the right one, or refused; the message says what to do."""

    exit_code = 6


class Backend(ABC):
    """A device seen as registers, memory and a job queue.

    Calls take effect in the order made. Writes and submissions may still be under way when their
    call returns; so may reads that were begun with a ``fetch``, which returns a function that gives
    the value. ``flush``, that function and every call that returns a value wait for all calls
    before them, and raise what went wrong in them.

    Raises
    ------
    DeviceError
        From every method: the device vanished (in bounded time) or refused the request.
    """

    @abstractmethod
    def fetch_csrs(self, names: tuple[str, ...]) -> Callable[[], dict[str, int]]:
        """Begin to read registers by name (see ``isa.CSRS``), all at about the same time."""

    @abstractmethod
    def write_csr(self, name: str, value: int) -> None:
        """Write a 32-bit register."""

    @abstractmethod
    def write_memory(self, address: int, elements: np.ndarray) -> None:
        """Write int8[n] or int16[n] elements from an element address on."""

    @abstractmethod
    def fetch_memory(self, address: int, count: int) -> Callable[[], np.ndarray]:
        """Begin to read ``count`` elements from an element address on, int8 or int16."""

    @abstractmethod
    def write_program(self, words: np.ndarray) -> None:
        """Write uint32[n] instruction words from program address 0 on."""

    @abstractmethod
    def flush(self) -> None:
        """Wait until everything called before has taken effect."""

    @abstractmethod
    def close(self) -> None:
        """Give the device back; no other method may follow."""

    def identify(self) -> dict[str, int]:
        """Return the identity registers.

        Raises
        ------
        DeviceError
            If what answers is no Systolith.
        """
        identity = self.read_csrs(IDENTITY)
        if identity["MAGIC"] != MAGIC:
            raise DeviceError(f"the device answers {identity['MAGIC']:#010x}, not {MAGIC:#010x}: "
                              "it is no Systolith; check the port and the bitstream")
        return identity

    def read_csrs(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return registers by name, read at about the same time."""
        return self.fetch_csrs(names)()

    def read_memory(self, address: int, count: int) -> np.ndarray:
        """Return ``count`` elements from an element address on: int8[count] or int16[count]."""
        return self.fetch_memory(address, count)()

    def read_csr(self, name: str) -> int:
        """Return one register by name."""
        return self.read_csrs((name,))[name]

    def submit(self) -> None:
        """Queue one job; at most two may be waiting or running."""
        self.write_csr("SUBMIT", 1)

    def reset(self) -> None:
        """Abort all jobs, clear faults and counters; memories and deltas keep their content."""
        self.write_csr("CONTROL", 1)

    def done_count(self) -> int:
        """Return how many jobs have finished since the last reset."""
        return self.read_csr("DONE")
