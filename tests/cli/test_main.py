import os
import subprocess
import sys

import pytest

from systolith import __version__
from systolith.cli import main, targets
from systolith.hw.config import ConfigError
from systolith.sw.errors import DataError, Refusal, UnsupportedError

COMMANDS = {"bench", "compile", "run", "demo", "build", "program", "verilog", "targets", "devices",
            "doctor", "explain", "isa", "train", "conformance", "demo-train"}


def test_every_command_is_there():
    assert set(main.COMMANDS) == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example_and_json(systolith, name):
    run = systolith(name, "--help")
    assert run.code == 0
    assert f"Example: systolith {name}" in " ".join(run.out.split())
    assert "--json" in run.out


def test_version(systolith):
    assert systolith("--version").out == f"systolith {__version__}\n"


@pytest.mark.parametrize("arguments,message", [
    (["tragets"], "No such command 'tragets'"),
    (["targets", "--josn"], "No such option: --josn"),
    (["build"], "Missing argument"),
    (["build", "icebreaker", "--tries", "none"], "tries"),
])
def test_wrong_calls_are_one_line_and_code_2(systolith, arguments, message):
    run = systolith(*arguments)
    assert run.code == 2 and run.out == ""
    assert run.err.startswith("systolith: ") and message in run.err
    assert run.err.count("\n") == 1


@pytest.mark.parametrize("error,code,message", [
    (DataError("x.npy: wrong"), 3, "systolith: x.npy: wrong\n"),
    (UnsupportedError("m.onnx", [Refusal("a", "Elu", "1", "2"), Refusal("b", "Erf", "3", "4")]), 2,
     "systolith: m.onnx: 2 nodes cannot be mapped: node 'a' (Elu): 1; 2; node 'b' (Erf): 3; 4\n"),
    (ConfigError("rows must be"), 1, "systolith: rows must be\n"),
    (OSError(28, "No space left on device", "/x/y.npy"), 1,
     "systolith: /x/y.npy: No space left on device\n"),
    (KeyboardInterrupt(), 130, ""),
])
def test_errors_become_one_line(systolith, monkeypatch, error, code, message):
    _fail_with(monkeypatch, error)
    run = systolith("targets")
    assert (run.code, run.out, run.err) == (code, "", message)


def test_a_fault_of_our_own_says_where(systolith, monkeypatch):
    _fail_with(monkeypatch, ZeroDivisionError("oops"))
    run = systolith("targets")
    assert run.code == 70 and run.err.count("\n") == 1
    assert "internal error, please report it: ZeroDivisionError: oops (" in run.err
    assert "Traceback" in systolith("--traceback", "targets").err


def _fail_with(monkeypatch, error):
    def fail(*arguments):
        raise error
    monkeypatch.setattr(targets.Output, "table", fail)


def test_a_reader_that_leaves_is_not_an_error():
    code = "import sys; from systolith.cli.main import execute; sys.exit(execute(['isa']))"
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE,
                         text=True, timeout=60)
    os.close(writing)
    assert run.returncode == 1 and run.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    code = "import sys; from systolith.cli.main import execute; sys.exit(execute(['isa']))"
    with open("/dev/full", "w") as full:
        run = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE,
                             text=True, timeout=60)
    assert run.returncode == 1 and run.stderr == "systolith: No space left on device\n"


def test_help_does_not_load_the_heavy_packages():
    code = ("import sys; from systolith.cli import main; "
            "sys.exit(any(name in sys.modules for name in ('onnx', 'amaranth', 'onnxruntime')))")
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
