import os
import stat
from pathlib import Path

import pytest

from systolith.boards.build import build
from systolith.boards.report import CriticalPath, Report, Usage
from systolith.boards.targets import find_target


@pytest.fixture
def fake_build(monkeypatch):
    """Make ``systolith build`` come to a report with this clock, without any tool."""
    def install(fmax_mhz):
        def fake(target, directory, *, seeds, progress):
            progress("yosys", "1. Executing RTLIL frontend.")
            progress("nextpnr-ecp5", "Info: Routing..")
            report = Report(
                target=target.name, seed=seeds[-1], fmax_mhz=fmax_mhz, constraint_mhz=100.0,
                macs=128, critical_path=CriticalPath("core.a", "core.b", 4.0, 5.5, 3),
                usage={"lut": Usage(41000, 83640), "dsp": Usage(152, 156)},
                build_hash=0x1234, seconds=61.0)
            if report.timing_met:
                report.bitstream = directory / "top.bit"
            return report
        monkeypatch.setattr("systolith.boards.build.build", fake)
    return install


def test_build_reports(systolith, fake_build):
    fake_build(105.0)
    run = systolith("build", "ulx3s-85f", "--seed", 3, "--tries", 2)
    assert run.code == 0
    for words in ("41000", "83640", "105.0 MHz, 100 MHz asked for: timing met (seed 4)",
                  "from core.a to core.b: 9.5 ns", "build/ulx3s-85f/top.bit", "hash 00001234"):
        assert words in run.out
    assert "yosys" in run.err


def test_build_json_has_the_promised_keys(systolith, fake_build, tmp_path):
    fake_build(105.0)
    result = systolith("build", "ulx3s-85f", "--json", "--directory", tmp_path).json
    assert result["fmax_mhz"] == 105.0 and result["constraint_mhz"] == 100.0
    assert result["seed"] == find_target("ulx3s-85f").seed + 2       # the last of three tries
    assert (result["macs"], result["lut"], result["dsp"]) == (128, 41000, 152)
    assert result["seconds"] == 61.0 and result["bitstream"] == str(tmp_path / "top.bit")


def test_build_fails_when_timing_fails(systolith, fake_build):
    fake_build(99.9)
    run = systolith("build", "ulx3s-85f", "--json")
    assert run.code == 1
    assert run.json["timing_met"] is False and run.json["bitstream"] is None
    assert "NOT met" in run.err


def test_build_of_an_unknown_target(systolith):
    run = systolith("build", "ulx4s")
    assert run.code == 1 and "no target 'ulx4s'; there are: ulx3s-85f" in run.err


def test_the_fake_has_the_signature_of_the_flow():
    assert {"seeds", "progress"} <= set(build.__kwdefaults__)


def test_program_without_a_bitstream(systolith, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = systolith("program", "ulx3s-85f")
    assert run.code == 1
    assert run.err == ("systolith: build/ulx3s-85f/top.bit: no such bitstream; build it: "
                       "systolith build ulx3s-85f\n")


@pytest.fixture
def bitstream(tmp_path):
    path = tmp_path / "top.bin"
    path.write_bytes(b"bits")
    return path


def test_program_without_the_loader(systolith, bitstream, monkeypatch):
    monkeypatch.setenv("PATH", str(bitstream.parent))
    run = systolith("program", "icebreaker", "--bitstream", bitstream)
    assert run.code == 1 and "openFPGALoader is missing: apt install openfpgaloader" in run.err


@pytest.mark.parametrize("code", [0, 3])
def test_program_calls_the_loader(systolith, bitstream, monkeypatch, code):
    loader = bitstream.parent / "openFPGALoader"
    loader.write_text(f'#!/bin/sh\necho "$@" > "{bitstream.parent}/called"\nexit {code}\n')
    loader.chmod(loader.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{bitstream.parent}{os.pathsep}{os.environ['PATH']}")
    run = systolith("program", "icebreaker", "--bitstream", bitstream, "--flash", "--json")
    called = Path(bitstream.parent / "called").read_text().split()
    assert called == ["--board", "ice40_generic", "--write-flash", str(bitstream)]
    if code:
        assert run.code == 1 and "openFPGALoader failed with exit code 3" in run.err
    else:
        assert run.json == {"target": "icebreaker", "bitstream": str(bitstream), "flash": True}
