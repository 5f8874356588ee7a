import random

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.dma import Dma
from systolith.hw.isa import csr_address
from systolith.hw.registers import RegisterBank

CONFIG = Config(rows=4, columns=4, post_lanes=1, banks=1, bank_words=64, program_words=64,
                frame_bytes=32)


class Registers(wiring.Component):
    """DMA and registers, as the controller connects them."""

    def __init__(self):
        self.dma, self.bank = Dma(CONFIG), RegisterBank(CONFIG)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma, m.submodules.bank = self.dma, self.bank
        connect(m, self.dma.register_write, self.bank.write)
        m.d.comb += [
            self.bank.address.eq(self.dma.register_address),
            self.dma.register_data.eq(self.bank.data),
            self.dma.register_busy.eq(self.bank.publish.valid),
            self.bank.reading.eq(self.dma.register_reading),
        ]
        return m


def test_a_register_is_read_as_a_whole():
    """While the device changes a register between zeros and ones, no read mixes the two."""
    dut, rng = Registers(), random.Random(1)
    first, values = 4 * csr_address("DONE"), []

    async def publish(ctx):
        value = 0
        while len(values) < 200:
            await ctx.tick().repeat(rng.randint(1, 25))
            value ^= 0xFF
            for index in range(4):
                ctx.set(dut.bank.publish.payload, {"address": first + index, "data": value})
                ctx.set(dut.bank.publish.valid, 1)
                await ctx.tick().until(dut.bank.publish.ready)
            ctx.set(dut.bank.publish.valid, 0)

    async def read(ctx):
        transfer = dut.dma.transfer
        for _ in range(200):
            ctx.set(transfer.request.address, first)
            ctx.set(transfer.request.length, 4)
            ctx.set(transfer.start, 1)
            await ctx.tick()
            ctx.set(transfer.start, 0)
            ctx.set(transfer.read.ready, 1)
            received = []
            for _ in range(4):
                byte, = await ctx.tick().sample(transfer.read.p.data).until(transfer.read.valid)
                received.append(byte)
            values.append(bytes(received))
            ctx.set(transfer.read.ready, 0)
            await ctx.tick().repeat(rng.randint(1, 5))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(publish)
    simulator.add_testbench(read)
    simulator.run_until(30_000e-6)
    assert len(values) == 200
    assert set(values) == {bytes(4), b"\xff" * 4}
