"""The controller's RTL with a core made of Python: a device for link and driver tests."""

import random
from collections import deque

from amaranth.sim import Simulator

from systolith.hw.config import Config
from systolith.hw.controller import Controller

__all__ = ["ControllerBench"]


class ControllerBench:
    """Run the controller in the Amaranth simulator, a byte pipe on one side, a core on the other.

    Parameters
    ----------
    config : Config
        The accelerator.
    seed : int
        Decides when the core and the pipe stall.
    stall : float
        Probability that a ready signal is low in a cycle.
    build_hash, crc_bits : int
        As of ``Controller``.

    Attributes
    ----------
    memory : list of int
        Unified memory by element (unsigned).
    program : list of int
        Program memory.
    jobs : list of dict
        Parity and deltas of every job started.
    job : tuple of (str, int)
        How jobs end ("done", "bad" or "hang"), and after how many cycles.
    resets, cycle : int
        Cycles with ``reset`` high, cycles run.
    """

    #: Cycles from a read to its data.
    READ_LATENCY = 3
    #: What ``pc`` shows.
    PC = 37

    def __init__(self, config: Config, seed: int = 0, stall: float = 0.0,
                 build_hash: int = 0, crc_bits: int = 8) -> None:
        self.config = config
        self.memory = [0] * config.memory_elements
        self.program = [0] * config.program_words
        self.jobs: list[dict[str, int]] = []
        self.job = ("done", 50)
        self.resets = self.cycle = 0
        self._random = random.Random(seed)
        self._stall = stall
        self._input: deque[int] = deque()
        self._output = bytearray()
        self._controller = Controller(config, build_hash, crc_bits)
        self._simulator = Simulator(self._controller)
        self._simulator.add_clock(1e-6)
        for process in (self._bytes_in, self._bytes_out, self._memories, self._engines):
            self._simulator.add_testbench(process, background=True)

    def receive(self, data: bytes, limit: int = 20_000, quiet: int = 60) -> bytes:
        """Feed bytes, run until nothing came out for ``quiet`` cycles, return what came out.

        Raises
        ------
        TimeoutError
            If that takes more than ``limit`` cycles.
        """
        self._input.extend(data)
        end, last = self.cycle + limit, self.cycle
        size = len(self._output)
        while self._input or self.cycle < last + quiet:
            if self.cycle > end:
                raise TimeoutError(f"the controller is still busy after {limit} cycles")
            self._simulator.advance()
            if self._input or len(self._output) != size:
                last, size = self.cycle, len(self._output)
        answer, self._output = bytes(self._output), bytearray()
        return answer

    def run(self, cycles: int) -> None:
        """Let time pass."""
        end = self.cycle + cycles
        while self.cycle < end:
            self._simulator.advance()

    def _ready(self) -> bool:
        return self._random.random() >= self._stall

    async def _bytes_in(self, ctx):
        rx = self._controller.rx
        while True:
            ctx.set(rx.valid, bool(self._input))
            if self._input:
                ctx.set(rx.payload, self._input[0])
            *_, taken = await ctx.tick().sample(rx.valid & rx.ready)
            self.cycle += 1
            if taken:
                self._input.popleft()

    async def _bytes_out(self, ctx):
        tx = self._controller.tx
        while True:
            ctx.set(tx.ready, self._ready())
            *_, taken, byte = await ctx.tick().sample(tx.valid & tx.ready, tx.payload)
            if taken:
                self._output.append(byte)

    async def _memories(self, ctx):
        host, lanes, bits = self._controller.host, self.config.lanes, self.config.operand_bits
        pipeline: deque[int | None] = deque([None] * (self.READ_LATENCY - 1))
        while True:
            ctx.set(host.write.ready, self._ready())
            ctx.set(host.read.ready, self._ready())
            *_, written, write, read, address, loaded, load = await ctx.tick().sample(
                host.write.valid & host.write.ready, host.write.payload,
                host.read.valid & host.read.ready, host.read.payload,
                host.program.valid, host.program.payload)
            pipeline.append(None)
            if read:
                elements = self.memory[address * lanes:(address + 1) * lanes]
                pipeline[-1] = sum(value << bits * i for i, value in enumerate(elements))
            word = pipeline.popleft()
            ctx.set(host.read_data.valid, word is not None)
            ctx.set(host.read_data.payload, word or 0)
            if written:
                for i in range(lanes):
                    if write.mask >> i & 1:
                        self.memory[write.address * lanes + i] = (
                            write.data >> bits * i & (1 << bits) - 1)
            if loaded:
                self.program[load.address] = load.data

    async def _engines(self, ctx):
        host = self._controller.host
        left = 0
        ctx.set(host.pc, self.PC)
        while True:
            *_, start, parity, inputs, outputs, reset = await ctx.tick().sample(
                host.start, host.parity, host.input_delta, host.output_delta, host.reset)
            ending, cycles = self.job
            self.resets += reset
            if start:
                if left:
                    raise AssertionError("a job was started while the core was busy")
                self.jobs.append({"parity": parity, "input": inputs, "output": outputs})
                left = cycles
            elif reset:
                left = 0
            elif left and ending != "hang":
                left -= 1
            ctx.set(host.busy, left > 0)
            ctx.set(host.entered, left > 0 and left % 2 == 0)
            ctx.set(host.done, left == 1 and ending == "done")
            ctx.set(host.bad, left == 1 and ending == "bad")
