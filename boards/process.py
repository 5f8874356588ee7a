"""Runs one tool of the build flow, and passes on what it says while it runs."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from systolith.boards.errors import BoardError
from systolith.boards.tools import Tool

__all__ = ["Progress", "run_tool"]

#: Called with the step (``yosys``, ...) and the line it has just printed.
Progress = Callable[[str, str], None]

#: Seconds between two looks at what a tool has said.
_INTERVAL = 0.2


def run_tool(tool: Tool, arguments: list[str], directory: Path, progress: Progress,
             log: str | None = None, limit: float = float("inf")) -> None:
    """Run a tool in ``directory``; what it prints goes to ``NAME.log`` there.

    Parameters
    ----------
    tool : Tool
        The program.
    arguments : list of str
        Its arguments; file names relative to ``directory``.
    directory : Path
        Where it runs.
    progress : callable
        Told about every line.
    log : str
        File in which the tool itself keeps its log, if that says more than what it prints.
    limit : float
        Seconds after which it is stopped.

    Raises
    ------
    BoardError
        If it fails, with its own error message, or takes too long. No process is left behind,
        whatever happens.
    """
    printed = directory / f"{tool.name}.log"
    words = directory / log if log else printed
    words.unlink(missing_ok=True)
    complaint, last = "", "no output"
    with printed.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([tool.path, *arguments], cwd=directory, stdout=output,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            for line in _follow(process, words, time.monotonic() + limit):
                progress(tool.name, line)
                last = line or last
                if line.startswith("ERROR"):
                    complaint = complaint or line
        finally:
            process.kill()
            code = process.wait()
    if code != 0:
        printed_last = printed.read_text(encoding="utf-8", errors="replace").strip()
        reason = complaint or printed_last.rpartition("\n")[2] or f"it ended after {last!r}"
        raise BoardError(f"{tool.name} failed with exit code {code}: {reason}; see {words}")


def _follow(process: subprocess.Popen, path: Path, deadline: float) -> Iterator[str]:
    """Yield the lines of a growing file until the process that writes it has ended."""
    file: TextIO | None = None
    rest = ""
    try:
        while True:
            ended = process.poll() is not None
            if not ended and time.monotonic() > deadline:
                raise BoardError(f"{Path(process.args[0]).name} was stopped, it took too long; the "
                                 f"clock may be out of its reach: see {path}")
            if file is None and path.exists():
                file = path.open(encoding="utf-8", errors="replace")
            *lines, rest = (rest + (file.read() if file else "")).split("\n")
            yield from (line.strip() for line in lines)
            if ended:
                yield from filter(None, [rest.strip()])
                return
            time.sleep(_INTERVAL)
    finally:
        if file:
            file.close()
