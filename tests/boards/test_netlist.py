import copy
import json
import re
from itertools import product

import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.boards.build import rtl_files
from systolith.boards.netlist import open_carry_ends, spread_chain_inputs
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


def lut(table, a, b, c, d):
    """Return the sum without its carry, and the carry where that is low (Yosys's CCU2C)."""
    total = table >> (a + 2 * b + 4 * c + 8 * d) & 1
    return total, None if total else table >> (a + 2 * b) & 1


def chain(*luts):
    """Return cells of a chain of LUTs: (table, [a, b, c, d]), bits of which are nets or levels."""
    cells = {}
    for i in range(0, len(luts), 2):
        connections = {"CIN": [-i] if i else ["x"], "COUT": [-i - 2]}
        for half, (_, bits) in enumerate(luts[i:i + 2]):
            connections |= {f"{pin}{half}": [bit] for pin, bit in zip("ABCD", bits, strict=True)}
        cells[f"ccu{i // 2}"] = {
            "type": "CCU2C", "connections": connections,
            "parameters": {f"INIT{half}": f"{table:016b}"
                           for half, (table, _) in enumerate(luts[i:i + 2])}}
    return cells


def luts_of(design):
    """Return the LUTs of all cells as `chain` takes them."""
    return [(int(cell["parameters"][f"INIT{half}"], 2),
             [cell["connections"][f"{pin}{half}"][0] for pin in "ABCD"])
            for cell in design["modules"]["top"]["cells"].values() for half in "01"]


def value(bit, nets):
    return nets[bit] if isinstance(bit, int) else int(bit != "0")


@pytest.mark.parametrize("table,bits", [
    (0x66AA, [1, 2, "0", "1"]),              # hw/carry's
    (0x66AA, [1, 2, "x", "1"]),
    (0x7888, [1, 2, 3, 4]),
    (0x8788, [1, 2, 3, 4]),
    (0x8788, [1, 2, 3, 2]),                  # a net at two inputs
    (0x665A, [1, 2, 3, 4]),
    (CARRY_IN, [1, 2, "1", "1"]),
    (CARRY_IN, ["0", 1, "1", "1"]),
    (0x96AA, [1, 2, "0", "1"]),              # Yosys's: it adds,
    (0x96AA, [1, 2, "1", "1"]),              # subtracts
    (0x96AA, [1, 2, 3, "1"]),                # or does either,
    (0x96AA, ["0", 2, "1", "1"]),            # or counts
    (0x0000, ["0", "0", "0", "0"]),
    (0x3C5A, [1, 2, 3, 4]),                  # any: its carry tells all inputs apart
])
def test_a_lut_of_a_chain_has_the_same_sum_and_carry_whichever_inputs_it_gets(table, bits):
    design = netlist(**chain(*[(table, bits)] * 8))
    spread_chain_inputs(design)
    for after_table, after in luts_of(design):
        assert sorted(bit for bit in after if isinstance(bit, int)) == sorted(
            bit for bit in bits if isinstance(bit, int))
        for values in product((0, 1), repeat=4):
            nets = dict(enumerate(values, 1))
            assert lut(after_table, *(value(bit, nets) for bit in after)) == lut(
                table, *(value(bit, nets) for bit in bits))


def nets_of_quarters(design):
    """Return how many nets the eight LUTs of a tile take to inputs A, B, C and D."""
    return [len({bits[i] for _, bits in luts_of(design)[:8] if isinstance(bits[i], int)})
            for i in range(4)]


def test_adders_take_as_many_nets_to_each_input():
    design = netlist(**chain(*((0x66AA, [2 * i + 1, 2 * i + 2, "0", "1"]) for i in range(8))))
    assert nets_of_quarters(design) == [8, 8, 0, 0]
    spread_chain_inputs(design)
    assert nets_of_quarters(design) == [4, 4, 4, 4]


def test_an_activation_that_two_rows_of_a_product_read_goes_to_one_input():
    low, high = 20, 21
    design = netlist(**chain(*((0x7888, [i + 2, low, i + 1, high]) for i in range(8))))
    assert nets_of_quarters(design) == [8, 1, 8, 1]
    spread_chain_inputs(design)
    assert sum(nets_of_quarters(design)) == 13
    assert max(nets_of_quarters(design)) == 5


def test_chains_of_one_tile_each_are_told_apart():
    """Two chains whose ends are open, which have the same bit for that."""
    first, second = (chain(*((0x66AA, [start + 2 * i, start + 2 * i + 1, "0", "1"])
                             for i in range(8))) for start in (1, 101))
    for cells in first, second:
        list(cells.values())[-1]["connections"]["COUT"] = ["x"]
    design = netlist(**{f"first{k}": v for k, v in first.items()},
                     **{f"second{k}": v for k, v in second.items()})
    # a cell's carry is known by its net, and each chain has its own
    for name, cell in design["modules"]["top"]["cells"].items():
        if name.startswith("second"):
            for pin in ("CIN", "COUT"):
                bit = cell["connections"][pin][0]
                cell["connections"][pin] = [bit - 100 if isinstance(bit, int) else bit]
    spread_chain_inputs(design)
    assert nets_of_quarters(design) == [4, 4, 4, 4]
