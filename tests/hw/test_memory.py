"""UnifiedMemory: concurrent readers and writers against a flat array."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.latency import read_latency
from systolith.hw.memory import UnifiedMemory
from systolith.hw.shallow_memory import ShallowMemory
from tests.hw.shallow import SHALLOW

CONFIGS = {
    "dual": Config(rows=5, columns=3, post_lanes=3, banks=3, bank_words=64, frame_bytes=64),
    "single": Config(rows=4, columns=2, post_lanes=1, banks=2, bank_words=64, frame_bytes=64,
                     bank_ports="single", alignment=2),
    "shallow": Config(rows=5, columns=4, post_lanes=1, banks=3, bank_words=64, frame_bytes=64,
                      **SHALLOW),
    "shallow single": Config(rows=4, columns=2, post_lanes=1, banks=2, bank_words=64,
                             frame_bytes=64, bank_ports="single", alignment=2, **SHALLOW),
    "one bank": Config(rows=2, columns=2, post_lanes=2, banks=1, bank_words=128, frame_bytes=64),
    "16 bit": Config(rows=4, columns=4, post_lanes=2, banks=2, bank_words=64, frame_bytes=64,
                     operand_bits=16),
}


def memory(config, readers):
    """The memory of a configuration."""
    return (ShallowMemory if config.shallow else UnifiedMemory)(config, readers)


class Flat:
    """The memory as one array of elements."""

    def __init__(self, config, rng):
        self.config = config
        high = 1 << config.operand_bits
        self.elements = np.array([rng.randrange(high) for _ in range(config.memory_elements)])

    def vector(self, address):
        return [int(self.elements[(address + i) % len(self.elements)])
                for i in range(self.config.lanes)]


async def fill(ctx, dut, flat):
    lanes = flat.config.lanes
    for word in range(len(flat.elements) // lanes):
        ctx.set(dut.word_valid, 1)
        ctx.set(dut.word_address, word)
        ctx.set(dut.word_mask, (1 << lanes) - 1)
        for lane in range(lanes):
            ctx.set(dut.word_data[lane], int(flat.elements[word * lanes + lane]))
        await ctx.tick().until(dut.word_ready)
    ctx.set(dut.word_valid, 0)
    await ctx.tick().repeat(2)


def needed(config, address, vector):
    """The banks of a vector's elements, as a mask."""
    span = config.bank_words * config.lanes
    return sum({1 << (address + i) // span for i in range(config.lanes if vector else 1)})


def reader(dut, flat, name, vector, rng, reads):
    config = flat.config
    port = getattr(dut, name)
    latency = read_latency(config, vector=vector)
    unit = config.alignment if vector else config.lanes
    top = config.memory_elements - config.lanes

    async def bench(ctx):
        expected = {}
        cycle = 0
        while reads[name] < 150 or expected:
            want = reads[name] < 150 and rng.random() < 0.8
            if want and not ctx.get(port.valid):
                address = rng.randrange(top // unit) * unit
                ctx.set(port.address, address)
                ctx.set(port.need, needed(config, address, vector))
            ctx.set(port.valid, want or ctx.get(port.valid))
            await ctx.delay(1e-9)
            if ctx.get(port.valid) and ctx.get(port.grant):
                expected[cycle + latency] = ctx.get(port.address)
                reads[name] += 1
            assert ctx.get(port.data_valid) == (cycle in expected)
            if cycle in expected:
                got = [ctx.get(port.data[i]) for i in range(config.lanes)]
                assert got == flat.vector(expected.pop(cycle))
            granted = ctx.get(port.grant)
            await ctx.tick()
            cycle += 1
            if granted:
                ctx.set(port.valid, 0)
            assert cycle < 5000
    return bench


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_readers_see_their_vectors(config):
    rng = random.Random(1)
    flat = Flat(config, rng)
    dut = memory(config, {"a": False, "b": True, "c": True})
    reads = {"a": 0, "b": 0, "c": 0}
    filled = []

    def after_fill(bench):
        async def wait(ctx):
            while not filled:
                await ctx.tick()
            await bench(ctx)
        return wait

    async def start(ctx):
        await fill(ctx, dut, flat)
        filled.append(True)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(start)
    for name, vector in dut.readers.items():
        sim.add_testbench(after_fill(reader(dut, flat, name, vector, random.Random(name), reads)))
    sim.run()
    assert reads == {"a": 150, "b": 150, "c": 150}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_vector_and_word_writes(config):
    rng = random.Random(2)
    flat = Flat(config, rng)
    dut = memory(config, {"a": False})
    high = 1 << config.operand_bits

    async def bench(ctx):
        await fill(ctx, dut, flat)
        for _ in range(300):
            mask = rng.randrange(1 << config.post_lanes) if rng.random() < 0.7 else 0
            top = config.memory_elements - config.lanes
            address = rng.randrange(top // config.alignment) * config.alignment
            ctx.set(dut.vector_write.address, address)
            ctx.set(dut.vector_write.mask, mask)
            for lane in range(config.post_lanes):
                value = rng.randrange(high)
                ctx.set(dut.vector_write.data[lane], value)
                if mask >> lane & 1:
                    flat.elements[address + lane] = value
            await ctx.tick()
        ctx.set(dut.vector_write.mask, 0)
        await ctx.tick().repeat(8)
        for word in range(config.banks * config.bank_words):
            ctx.set(dut.a.valid, 1)
            ctx.set(dut.a.address, word * config.lanes)
            ctx.set(dut.a.need, needed(config, word * config.lanes, False))
            await ctx.tick().repeat(read_latency(config, vector=False))
            got = [ctx.get(dut.a.data[i]) for i in range(config.lanes)]
            assert got == flat.vector(word * config.lanes), word

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
