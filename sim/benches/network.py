"""Bench: a compiled network on the whole accelerator, driven by the host's own driver.

Setting ``SYSTOLITH_CASE`` is a folder with ``program.sth`` and ``case.npz``: ``x`` (inputs,
batch first, in the model's own layout), ``y`` (the golden answers), and ``cycles`` (the cycles
the model of the control predicts).
"""

import os
from pathlib import Path
from random import Random

import cocotb
import numpy as np
from cocotb.task import bridge

from systolith.sim.benches import byte_streams
from systolith.sim.benches.pipe import BenchPipe
from systolith.sw.device import Device
from systolith.sw.link.backend import LinkBackend
from systolith.sw.link.link import Link
from systolith.sw.program import Program

#: Cycles without an answer after which the host asks again.
ANSWER_CYCLES = 100_000


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.3])
async def answers_are_golden(dut, stall):
    """Load a program, stream its images through, and compare every element."""
    folder = Path(os.environ["SYSTOLITH_CASE"])
    streams = await byte_streams.start(dut, Random(cocotb.RANDOM_SEED), gap=stall, stall=stall)
    await bridge(_run)(BenchPipe(dut, streams), folder)


def _run(pipe: BenchPipe, folder: Path) -> None:
    program, case = Program.load(folder / "program.sth"), np.load(folder / "case.npz")
    link = Link(pipe, timeout=ANSWER_CYCLES, retries=2, clock=pipe.clock, seed=1)
    device = Device(LinkBackend(link))
    device.load(program)
    alone = device.run(case["x"][:1])            # nothing else moves: the prediction is exact
    np.testing.assert_array_equal(alone.outputs[0], case["y"][:1])
    assert alone.cycles == (int(case["cycles"]),)
    together = device.run(case["x"])
    np.testing.assert_array_equal(together.outputs[0], case["y"])
