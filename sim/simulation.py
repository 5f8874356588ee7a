"""A running Verilated device: bytes in, bytes out, clock cycles counted."""

import ctypes
import functools
from pathlib import Path

__all__ = ["Simulation"]

#: Cycles of one call into the library: a fraction of a second, so that Ctrl-C is heard.
_SLICE_CYCLES = 1 << 16


class Simulation:
    """A device simulated by a library of :func:`systolith.sim.verilator.compile_library`.

    Simulated time passes in :meth:`run` only. The device starts out of reset.

    Parameters
    ----------
    library
        The compiled model.
    trace
        FST waveform file to write; the library must have been built with waveforms.

    Raises
    ------
    OSError
        If the waveform file cannot be written or the library cannot be loaded.
    """

    def __init__(self, library: Path, *, trace: Path | None = None):
        if trace is not None:
            trace.open("wb").close()
        self._device = None
        self._library = _load(library)
        self._device = self._library.systolith_create(
            None if trace is None else str(trace).encode())
        if not self._device:
            raise OSError(f"{library.name} cannot write the waveform {trace}")

    def pace(self, byte_cycles: int) -> None:
        """Let each direction of the link take so many clock cycles for a byte from now on.

        1, as at the start, is as fast as the device can; 333 is a UART of 3 Mbaud at 10 bits a byte
        and a clock of 100 MHz.

        Raises
        ------
        ValueError
            If ``byte_cycles`` is not positive.
        """
        if byte_cycles < 1:
            raise ValueError(f"byte_cycles must be at least 1, not {byte_cycles!r}")
        self._library.systolith_pace(self._open_device, byte_cycles)

    def send(self, data: bytes) -> None:
        """Queue bytes for the device."""
        self._library.systolith_send(self._open_device, data, len(data))

    def receive(self, count: int) -> bytes:
        """Take up to ``count`` bytes the device has sent."""
        buffer = ctypes.create_string_buffer(count)
        taken = self._library.systolith_receive(self._open_device, buffer, count)
        return buffer.raw[:taken]

    def run(self, cycles: int, wanted: int) -> int:
        """Run until ``wanted`` bytes can be received, ``cycles`` at most; return how many can."""
        end = self.cycles + cycles
        waiting = self._library.systolith_run(self._open_device, 0, wanted)
        while waiting < wanted and self.cycles < end:
            step = min(_SLICE_CYCLES, end - self.cycles)
            waiting = self._library.systolith_run(self._open_device, step, wanted)
        return waiting

    @property
    def cycles(self) -> int:
        """Clock cycles since the simulation began."""
        return self._library.systolith_cycles(self._open_device)

    def close(self) -> None:
        """End the simulation and finish the waveform; may be called twice."""
        device, self._device = self._device, None
        if device:
            self._library.systolith_destroy(device)

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _open_device(self) -> int:
        if not self._device:
            raise ValueError("the simulation is closed")
        return self._device


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    device, size, count = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64
    for name, result, *arguments in (
            ("create", device, ctypes.c_char_p),
            ("pace", None, device, count),
            ("destroy", None, device),
            ("send", None, device, ctypes.c_char_p, size),
            ("receive", size, device, ctypes.c_char_p, size),
            ("run", size, device, count, size),
            ("cycles", count, device)):
        function = getattr(library, f"systolith_{name}")
        function.restype, function.argtypes = result, arguments
    return library
