"""Registers written by the sequencer are there when the nest behind them starts."""

from dataclasses import replace

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor
from systolith.hw.isa import Engine, GoHeader, Op, SetHeader
from systolith.hw.sequencer import Sequencer

CONFIG = Config(name="small", rows=4, columns=4, post_lanes=4, banks=2, bank_words=64,
                program_words=64)


def program(first, *values):
    """Set registers from number ``first`` on, then GO in the very next word."""
    return [SetHeader.const({"op": Op.SET, "engine": Engine.POST, "first": first,
                             "count": len(values)}).as_value().value, *values,
            GoHeader.const({"op": Op.GO, "engine": Engine.POST}).as_value().value]


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("far", [(), ("ADD_", "BOUNDS")])
@pytest.mark.parametrize("last", ["CONTROL", "BOUNDS", "ADD_BOUNDS"])
def test_a_nest_starts_with_the_registers_set_just_before_it(prefetch, far, last):
    config = replace(CONFIG, prefetch_descriptors=prefetch)
    descriptor = Descriptor(config, Engine.POST, far=far)
    m = Module()
    m.submodules.sequencer = sequencer = Sequencer(config)
    m.submodules.descriptor = descriptor
    connect(m, sequencer.post, descriptor.port)
    m.d.comb += [descriptor.take.eq(descriptor.ready), descriptor.idle.eq(~descriptor.pending)]
    number = descriptor.names.index(last)
    wanted = [0x1000 + n for n in range(2)]
    words = [word for value in wanted for word in program(number, value)]

    async def bench(ctx):
        for address, word in enumerate([*words, Op.END.value]):
            ctx.set(sequencer.program, {"address": address, "data": word})
            ctx.set(sequencer.program_valid, 1)
            await ctx.tick()
        ctx.set(sequencer.program_valid, 0)
        ctx.set(sequencer.start, 1)
        await ctx.tick()
        ctx.set(sequencer.start, 0)
        started = []
        for _ in range(80):
            if ctx.get(descriptor.start):
                started.append(ctx.get(descriptor.registers[number]))
            await ctx.tick()
        assert started == wanted

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
