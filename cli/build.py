"""``systolith build``: RTL to a bitstream."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    from systolith.boards.report import Report

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith build ulx3s-85f"


def command(
    target: Annotated[str, typer.Argument(help="Name of the board; see systolith targets.")],
    seed: Annotated[int | None, typer.Option(
        help="Seed of the placer; the target's if not given.")] = None,
    tries: Annotated[int, typer.Option(
        min=1, help="Seeds to try, one after the other, until timing is met.")] = 3,
    directory: Annotated[Path | None, typer.Option(
        "--directory", "-d", help="Where to build; build/TARGET if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Build a target's bitstream with Yosys, nextpnr and the packer, and report on it.

    The exit code is 1 if timing is not met; there is no bitstream then.
    """
    from systolith.boards.build import build
    from systolith.boards.targets import find_target

    out = Output(as_json)
    board = find_target(target)
    first = board.seed if seed is None else seed
    with _Status(out) as status:
        report = build(board, directory or Path("build") / target,
                       seeds=range(first, first + tries), progress=status.show)
    _print(out, report)
    out.result(report.to_json())
    if not report.timing_met:
        raise typer.Exit(1)


class _Status:
    """One live line: the tool that runs, for how long, and what it said last."""

    def __init__(self, out: Output):
        self.log = out.log
        self.step, self.line, self.since = "", "", time.monotonic()
        self.live = Live(console=out.log, transient=True, refresh_per_second=4, get_renderable=self)

    def __enter__(self) -> "_Status":
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()
        if not any(exception):
            self._finish()

    def __call__(self) -> Text:
        """Return the line to draw."""
        text = f"{self.step:14} {time.monotonic() - self.since:5.0f} s  {self.line}"
        return Text(text, no_wrap=True, overflow="ellipsis")

    def show(self, step: str, line: str) -> None:
        """Take a line of a tool."""
        if step != self.step:
            self._finish()
            self.step, self.since = step, time.monotonic()
        if line:
            self.line = line.removeprefix("Info:").strip()

    def _finish(self) -> None:
        if self.step:
            self.log.print(f"{self.step:14} {time.monotonic() - self.since:5.0f} s")


def _print(out: Output, report: "Report") -> None:
    numbers = ("used", "available", "%")
    table = out.table("resource", *numbers, numbers=numbers)
    for name, usage in report.usage.items():
        table.add_row(name, f"{usage.used}", f"{usage.available}",
                      f"{100 * usage.used / max(1, usage.available):.0f}")
    out.say(table)
    verdict = ("met", "green") if report.timing_met else ("NOT met", "red")
    out.say(Text.assemble(
        f"Clock          {report.fmax_mhz:.1f} MHz, {report.constraint_mhz:g} MHz asked for: "
        "timing ", verdict, f" (seed {report.seed})"))
    out.say(f"Critical path  {report.critical_path.describe()}")
    out.say(f"Array          {report.macs} multiply-accumulates a cycle")
    out.say(f"Build          {report.seconds:.0f} s, hash {report.build_hash:08x}")
    out.say(f"Bitstream      {report.bitstream or 'none, since timing is not met: try --tries 5'}")
