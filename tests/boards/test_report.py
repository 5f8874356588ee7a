import dataclasses
import json

import pytest

from systolith.boards.errors import BoardError
from systolith.boards.report import Usage, read_report
from systolith.boards.targets import find_target

CLOCK = "$glbnet$clk"


def step(kind, delay, source, sink):
    return {"type": kind, "delay": delay, "from": {"cell": source}, "to": {"cell": sink}}


def routed(**changes):
    a, b, c = ("core.post.y_TRELLIS_FF_Q_3", "core.post.y_TRELLIS_FF_Q_3_DI_LUT4_Z",
               "core.memory.bank0.lane3.0.0")
    report = {
        "fmax": {CLOCK: {"achieved": 104.5, "constraint": 102.0},
                 "clk25": {"achieved": 300.0, "constraint": 25.0}},
        "utilization": {"TRELLIS_COMB": {"used": 900, "available": 83640},
                        "TRELLIS_FF": {"used": 500, "available": 83640},
                        "MULT18X18D": {"used": 152, "available": 156},
                        "DP16KD": {"used": 160, "available": 208}},
        "critical_paths": [
            {"from": "<async>", "to": f"posedge {CLOCK}", "path": [step("source", 0.0, c, c)]},
            {"from": f"posedge {CLOCK}", "to": f"posedge {CLOCK}", "path": [
                step("clk-to-q", 0.5, a, a), step("routing", 2.25, a, b),
                step("logic", 0.25, b, b), step("routing", 1.0, b, c), step("setup", 0.5, c, c)]},
        ],
    }
    return report | changes


@pytest.fixture
def read(tmp_path):
    def read(report, cells, target="ulx3s-85f"):
        (tmp_path / "report.json").write_text(json.dumps(report))
        (tmp_path / "cells.json").write_text(
            json.dumps({"design": {"num_cells_by_type": cells}}))
        target = find_target(target)
        if target.name == "ulx3s-85f":
            target = dataclasses.replace(
                target, clock_hz=100_000_000,
                toolchain=dataclasses.replace(target.toolchain, margin=0.02))
        return read_report(target, tmp_path, seed=7)
    return read


def test_a_report_with_timing_met(read):
    report = read(routed(), {})
    assert report.timing_met and report.fmax_mhz == 104.5 and report.constraint_mhz == 100
    assert report.usage["dsp"] == Usage(152, 156) and report.usage["bram"] == Usage(160, 208)
    data = report.to_json()
    for key in ("fmax_mhz", "constraint_mhz", "macs", "lut", "ff", "dsp", "bram", "seconds",
                "bitstream"):
        assert key in data
    assert data["macs"] == 128 and data["lut"] == 900 and data["seed"] == 7
    assert data["bitstream"] is None
    json.dumps(data)


def test_the_critical_path_in_words(read):
    assert read(routed(), {}).critical_path.describe() == (
        "from core.post.y to core.memory.bank0.lane3.0.0: 4.5 ns, 1.2 in cells (1 between the "
        "registers) and 3.2 in wires")


def test_of_several_clocks_of_the_same_frequency_the_slowest_counts(read):
    report = routed()
    report["fmax"]["$glbnet$slow"] = {"achieved": 90.0, "constraint": 102.0}
    report["critical_paths"].append(
        {"from": "posedge $glbnet$slow", "to": "posedge $glbnet$slow",
         "path": [step("clk-to-q", 1.0, "a", "a"), step("setup", 1.0, "b", "b")]})
    result = read(report, {})
    assert result.fmax_mhz == 90.0 and not result.timing_met
    assert result.critical_path.source == "a"


def test_ice40_luts_and_flip_flops_are_counted_after_synthesis(read):
    report = routed(
        fmax={CLOCK: {"achieved": 25.0, "constraint": 24.0}},
        utilization={"ICESTORM_LC": {"used": 4000, "available": 5280}})
    usage = read(report, {"SB_LUT4": 3000, "SB_DFF": 5, "SB_DFFESR": 7, "SB_CARRY": 9},
                 "icebreaker").usage
    assert usage["lut"] == Usage(3000, 5280) and usage["ff"] == Usage(12, 5280)
    assert usage["spram"] == Usage(0, 0)


def test_a_missing_clock_is_an_error(read):
    with pytest.raises(BoardError, match="timed no clock of 102 MHz, only: clk25"):
        read(routed(fmax={"clk25": {"achieved": 300.0, "constraint": 25.0}}), {})


def test_a_damaged_report_is_an_error(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(BoardError, match="no readable report"):
        read_report(find_target("ulx3s-85f"), tmp_path, seed=1)
