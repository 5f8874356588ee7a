import copy
import json
import re

import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.boards.build import rtl_files
from systolith.boards.netlist import open_carry_ends
from systolith.boards.process import run_tool
from systolith.boards.targets import find_target
from systolith.boards.tools import find_tool
from systolith.hw.carry import CARRY_IN, add
from systolith.hw.controller import Indicators


def ccu2c(first, carry_in, carry_out):
    """Return a cell whose lower LUT is ``first``."""
    return {"type": "CCU2C", "parameters": {"INIT0": f"{first:016b}"},
            "connections": {"A0": [9], "CIN": [carry_in], "COUT": [carry_out], "S0": [90]}}


def netlist(**cells):
    return {"modules": {"top": {"cells": cells, "ports": {"o": {"bits": [7, 90]}}}}}


@pytest.mark.parametrize("first,carry_in,carry_out,expected", [
    (CARRY_IN, "0", 2, ["x", "x"]),          # a chain of hw/carry of one cell
    (0x96AA, "0", 2, ["0", "x"]),            # Yosys's: it relies on its constant
    (CARRY_IN, 5, 2, [5, "x"]),              # a middle that happens to have the same LUT
    (CARRY_IN, "0", 6, ["x", 6]),            # the carry goes to the next cell
    (CARRY_IN, "0", 7, ["x", 7]),            # or out of the module
])
def test_ends_are_opened_where_nothing_depends_on_them(first, carry_in, carry_out, expected):
    design = netlist(it=ccu2c(first, carry_in, carry_out),
                     other={"type": "LUT4", "parameters": {}, "connections": {"A": [6], "Z": [5]}})
    before = copy.deepcopy(design)
    open_carry_ends(design)
    cell = design["modules"]["top"]["cells"]["it"]
    assert [cell["connections"][name][0] for name in ("CIN", "COUT")] == expected
    cell["connections"] |= {"CIN": [carry_in], "COUT": [carry_out]}
    assert design == before


class Sums(wiring.Component):
    """A design with the accelerator's pins: a sum of :mod:`systolith.hw.carry` and a difference."""

    reset: In(1)
    rx: In(1)
    tx: Out(1)
    indicators: Out(Indicators)

    def elaborate(self, platform):
        m = Module()
        x, y = self._register(m, self.rx), self._register(m, self.reset)
        own = add(m, platform, x, y, bits=12, name="own")
        m.d.sync += self.tx.eq(own.xor() ^ (x - y)[:12].xor())
        return m

    def _register(self, m, source):
        value = Signal(signed(12))
        m.d.sync += value.eq(Cat(source, value))
        return value


@pytest.mark.slow
@pytest.mark.board
def test_place_and_route_spends_four_luts_less_a_chain_and_two_less_an_adder(tmp_path):
    target = find_target("ulx3s-85f")
    for name, content in rtl_files(target, Sums()).items():
        (tmp_path / name).write_text(content)
    (tmp_path / "top.ys").write_text(target.toolchain.yosys_script({}))
    run_tool(find_tool("yosys"), ["-q", "-s", "top.ys"], tmp_path, lambda *_: None)
    luts = []
    for amend in (lambda design: None, open_carry_ends):
        design = json.loads((tmp_path / "top.json").read_text())
        amend(design)
        (tmp_path / "top.json").write_text(json.dumps(design))
        run_tool(find_tool("nextpnr-ecp5"), [*target.toolchain.device_options, "--lpf", "top.lpf",
                 "--json", "top.json", "--pack-only"], tmp_path, lambda *_: None)
        log = (tmp_path / "nextpnr-ecp5.log").read_text()
        luts.append(int(re.search(r"TRELLIS_COMB:\s+(\d+)/", log)[1]))
    adders = 5                               # the difference, the reset's counter, three of LEDs
    assert luts[0] - luts[1] == 4 + 2 * adders
