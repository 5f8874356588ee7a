"""Bench of the runner's own test: the device must answer every byte with its complement."""

from random import Random

import cocotb
from cocotb.triggers import ClockCycles

from systolith.sim.benches import byte_streams


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.6], stall=[0.0, 0.6])
async def complements(dut, gap, stall):
    random = Random(cocotb.RANDOM_SEED)
    streams = await byte_streams.start(dut, random, gap=gap, stall=stall)
    data = random.randbytes(300)
    streams.to_device.extend(data)
    await ClockCycles(dut.clk, 3000)
    assert bytes(streams.from_device) == bytes(255 - byte for byte in data)
