"""The host's own driver inside a cocotb bench: its byte pipe runs over the bench's streams."""

import cocotb
from cocotb.handle import HierarchyObject
from cocotb.triggers import ClockCycles

from systolith.sim.benches.byte_streams import ByteStreams
from systolith.sw.transport import Transport

__all__ = ["BenchPipe"]


class BenchPipe(Transport):
    """Bytes of a blocking host program, to be called inside ``await bridge(program)(...)``.

    Time is counted in clock cycles: ``timeout`` and :meth:`clock` are cycles.
    """

    name = "bench"
    #: Cycles between looks at the streams.
    _STEP_CYCLES = 16

    def __init__(self, dut: HierarchyObject, streams: ByteStreams):
        self._dut, self._streams = dut, streams
        self._cycles = 0
        self._pass_time = cocotb.task.resume(self._wait)

    async def _wait(self) -> None:
        await ClockCycles(self._dut.clk, self._STEP_CYCLES)
        self._cycles += self._STEP_CYCLES

    def write(self, data: bytes) -> None:
        """Queue bytes for the device."""
        self._streams.to_device.extend(data)

    def read(self, limit: int, timeout: float) -> bytes:
        """Run until the device has sent something, ``timeout`` cycles at most."""
        end = self._cycles + timeout
        arrived = self._streams.from_device
        while not arrived and self._cycles < end:
            self._pass_time()
        return bytes(arrived.popleft() for _ in range(min(limit, len(arrived))))

    def close(self) -> None:
        """Nothing to release."""

    def clock(self) -> float:
        """Return the cycles that have passed."""
        return self._cycles
