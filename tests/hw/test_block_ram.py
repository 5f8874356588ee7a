"""Block RAM: Gowin's primitive, with a model of the cell, against the portable form."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Cat, Fragment, Module, Signal, unsigned
from amaranth.lib.memory import Memory

from systolith.hw.block_ram import BlockRam
from tests.hw.primitives import ECP5, GOWIN, gowin_sdpx9b, wrong_jobs
from tests.hw.test_multiplier import primitives

CYCLES = 200


@dataclass(frozen=True)
class Job:
    """Random reads and writes to few addresses of both forms at once."""

    name: str
    width: int
    depth: int
    registered: bool = True
    #: Words written late differ, so that the test can tell.
    mistaken: bool = False

    def build(self, m: Module, count, finished):
        """Run both; return a bit that stays set once they differ."""
        portable, dut = (BlockRam(width=self.width, depth=self.depth, registered=self.registered)
                         for _ in range(2))
        m.submodules[f"{self.name}_portable"] = portable
        m.submodules[self.name] = Fragment.get(dut, GOWIN)
        m.submodules[f"{self.name}_cases"] = cases = Memory(
            shape=unsigned(18 + self.width), depth=CYCLES, init=self._cases())
        port = cases.read_port(domain="comb")
        write, read, at, of, mistake, written = (
            Signal(bits, name=f"{self.name}_{name}") for name, bits in
            (("write", 1), ("read", 1), ("at", 8), ("of", 7), ("mistake", 1),
             ("written", self.width)))
        m.d.comb += [port.addr.eq(count), Cat(write, read, at, of, mistake, written).eq(port.data)]
        for ram in (portable, dut):
            m.d.comb += [
                ram.write.eq(write), ram.write_address.eq(at), ram.read.eq(read),
                ram.read_address.eq(of),
                ram.write_data.eq(written ^ (mistake if ram is dut else 0)),
            ]
        wrong = Signal(name=f"{self.name}_wrong")
        with m.If((count > CYCLES // 2) & ~finished & (portable.data != dut.data)):
            m.d.sync += wrong.eq(1)
        return wrong

    def _cases(self):
        """All words are written once, in turn; then reads come too, never of what is written."""
        rng = np.random.default_rng(self.width)
        words = []
        for cycle in range(CYCLES):
            of, first = int(rng.integers(0, 64)), cycle < CYCLES // 2
            at = cycle % 64 if first else int(rng.integers(0, 64))
            write = first or rng.random() < 0.5
            read = not (write and at == of)
            written = int.from_bytes(rng.bytes(5), "little") & (1 << self.width) - 1
            mistake = self.mistaken and not first
            fields = ((write, 1), (read, 1), (at, 8), (of, 7), (mistake, 1))
            word = offset = 0
            for value, bits in (*fields, (written, self.width)):
                word, offset = word | int(value) << offset, offset + bits
            words.append(word)
        return words


@pytest.mark.slow
def test_gowin_primitive():
    jobs = [Job(f"ram{width}x{depth}", width, depth) for width, depth in
            ((8, 2048), (9, 2048), (16, 1024), (18, 1024), (32, 512), (36, 512), (40, 256))]
    jobs.append(Job("bare", 8, 2048, registered=False))
    assert wrong_jobs([*jobs, Job("mistaken", 32, 512, mistaken=True)], gowin_sdpx9b(),
                      CYCLES) == ["mistaken"]


@pytest.mark.parametrize(("platform", "cell"), [(ECP5, "DP16KD"), (GOWIN, "SDPX9B")])
@pytest.mark.parametrize(("width", "depth", "blocks"), [
    (8, 2048, 1), (32, 512, 1), (32, 1024, 2), (40, 256, 2)])
def test_blocks(platform, cell, width, depth, blocks):
    counts = Counter(primitives(Fragment.get(BlockRam(width=width, depth=depth), platform)))
    assert counts[cell] == blocks


def test_gowin_keeps_small_memories_in_look_up_tables():
    fragment = Fragment.get(BlockRam(width=3, depth=16), GOWIN)
    assert "SDPX9B" not in list(primitives(fragment))
