"""Drives a Core in the Amaranth simulator through its host port."""

import numpy as np
from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.core import Core

__all__ = ["run_core"]


def run_core(config: Config, words, memory: np.ndarray, *, jobs: int = 1, limit: int = 200_000,
             input_delta: int = 0, output_delta: int = 0, vcd: str | None = None):
    """Run ``jobs`` jobs of a program; return (memory afterwards, cycles of each job).

    ``memory`` holds every element of the unified memory.
    """
    dut = Core(config)
    host = dut.host
    memory = np.asarray(memory).reshape(-1, config.lanes)
    mask = (1 << config.operand_bits) - 1
    after = np.zeros_like(memory)
    cycles = []

    async def bench(ctx):
        for address, word in enumerate(words):
            ctx.set(host.program.valid, 1)
            ctx.set(host.program.payload, {"address": address, "data": int(word)})
            await ctx.tick()
        ctx.set(host.program.valid, 0)
        ctx.set(host.write.valid, 1)
        for address, row in enumerate(memory):
            packed = sum((int(e) & mask) << i * config.operand_bits for i, e in enumerate(row))
            ctx.set(host.write.payload, {"address": address, "data": packed,
                                         "mask": (1 << config.lanes) - 1})
            await ctx.tick().until(host.write.ready)
        ctx.set(host.write.valid, 0)
        ctx.set(host.input_delta, input_delta)
        ctx.set(host.output_delta, output_delta)
        for job in range(jobs):
            ctx.set(host.parity, job % 2)
            ctx.set(host.start, 1)
            await ctx.tick()
            ctx.set(host.start, 0)
            count = 1
            while not ctx.get(host.done):
                assert not ctx.get(host.bad), f"illegal instruction at {ctx.get(host.pc)}"
                await ctx.tick()
                count += 1
                assert count < limit, f"no end after {limit} cycles, at {ctx.get(host.pc)}"
            cycles.append(count)
            await ctx.tick()
        asked = answers = 0
        while answers < len(memory):
            ctx.set(host.read.valid, asked < len(memory))
            ctx.set(host.read.payload, min(asked, len(memory) - 1))
            asked += ctx.get(host.read.ready)
            await ctx.tick()
            if ctx.get(host.read_data.valid):
                packed = ctx.get(host.read_data.payload)
                for i in range(config.lanes):
                    value = packed >> i * config.operand_bits & mask
                    after[answers, i] = value - (value > mask >> 1) * (mask + 1)
                answers += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    if vcd:
        with sim.write_vcd(vcd):
            sim.run()
    else:
        sim.run()
    return after.reshape(-1), cycles
