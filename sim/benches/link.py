"""Bench: the host's own link against the whole accelerator, with gaps and backpressure.

Setting ``SYSTOLITH_CONFIG`` is the accelerator's configuration as JSON.
"""

import json
import os
from random import Random

import cocotb
import numpy as np
from cocotb.task import bridge

from systolith.hw.config import Config
from systolith.sim.benches import byte_streams
from systolith.sim.benches.pipe import BenchPipe
from systolith.sw.link.backend import LinkBackend
from systolith.sw.link.link import Link

#: Cycles without an answer after which the host asks again; stalls alone must never need that.
ANSWER_CYCLES = 50_000


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.5], stall=[0.0, 0.5])
async def memory_keeps_what_is_written(dut, gap, stall):
    """Write and read random pieces of memory through frames of the real protocol."""
    config = Config.from_json(json.loads(os.environ["SYSTOLITH_CONFIG"]))
    random = Random(cocotb.RANDOM_SEED)
    streams = await byte_streams.start(dut, random, gap=gap, stall=stall)
    pipe = BenchPipe(dut, streams)
    await bridge(_exercise)(pipe, config, np.random.default_rng(cocotb.RANDOM_SEED))


def _exercise(pipe: BenchPipe, config: Config, random: np.random.Generator) -> None:
    backend = LinkBackend(Link(pipe, timeout=ANSWER_CYCLES, retries=2, clock=pipe.clock, seed=1))
    assert backend.identify()["CONFIG_HASH"] == config.hash
    bound = 1 << config.operand_bits - 1
    expected = random.integers(-bound, bound, config.memory_elements)
    backend.write_memory(0, expected)
    for _ in range(10):
        address = int(random.integers(0, config.memory_elements - 100))
        piece = random.integers(-bound, bound, int(random.integers(1, 100)))
        backend.write_memory(address, piece)
        expected[address:address + len(piece)] = piece
    assert np.array_equal(backend.read_memory(0, config.memory_elements), expected)
    assert backend.read_csr("LINK_ERRORS") == 0
    assert backend.link.retransmissions == 0
