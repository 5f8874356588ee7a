"""A device's byte streams ``rx`` and ``tx`` in cocotb, with gaps and backpressure."""

from collections import deque
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly

__all__ = ["ByteStreams", "start"]

CLOCK_PERIOD_NS = 10


class ByteStreams:
    """Feeds ``to_device`` into ``rx`` and collects ``tx`` in ``from_device``, for ever.

    Inputs change and handshakes are sampled while the clock is low, so that neither depends on
    the order of events at an edge. A byte once offered stays until it is taken.

    Parameters
    ----------
    gap, stall
        Probability of a cycle without a byte on ``rx``, and of one that takes none from ``tx``.
    """

    def __init__(self, dut: HierarchyObject, random: Random, *, gap: float, stall: float):
        self.to_device: deque[int] = deque()
        self.from_device: deque[int] = deque()
        self._dut, self._random, self._gap, self._stall = dut, random, gap, stall
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut, random = self._dut, self._random
        offering = False
        while True:
            await FallingEdge(dut.clk)
            offering = offering or bool(self.to_device) and random.random() >= self._gap
            taking = random.random() >= self._stall
            dut.rx__valid.value = offering
            if offering:
                dut.rx__payload.value = self.to_device[0]
            dut.tx__ready.value = taking
            await ReadOnly()
            if offering and dut.rx__ready.value == 1:
                self.to_device.popleft()
                offering = False
            if taking and dut.tx__valid.value == 1:
                self.from_device.append(int(dut.tx__payload.value))


async def start(dut: HierarchyObject, random: Random, *, gap: float, stall: float) -> ByteStreams:
    """Start the clock, reset the device and return its streams."""
    dut.rx__valid.value = 0
    dut.tx__ready.value = 0
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PERIOD_NS, "ns").start()
    await ClockCycles(dut.clk, 4)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    return ByteStreams(dut, random, gap=gap, stall=stall)
