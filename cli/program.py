"""``systolith program``: a bitstream into a board."""

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "command"]

#: File descriptor that takes the loader's words: stdout is for our result.
STDERR = 2

EXAMPLE = "Example: systolith program ulx3s-85f --flash"


def command(
    target: Annotated[str, typer.Argument(help="Name of the board; see systolith targets.")],
    bitstream: Annotated[Path | None, typer.Option(
        help="The bitstream; the one of `systolith build` if not given.")] = None,
    flash: Annotated[bool, typer.Option(
        "--flash", help="Write it into the board's flash, so that it survives power-off.")] = False,
    as_json: Json = False,
) -> None:
    """Load a bitstream into a board with openFPGALoader."""
    from systolith.boards.errors import BoardError
    from systolith.boards.targets import find_target

    out = Output(as_json)
    board = find_target(target)
    path = bitstream or Path("build") / target / board.toolchain.bitstream
    if not path.is_file():
        raise BoardError(f"{path}: no such bitstream; build it: systolith build {target}")
    loader = shutil.which("openFPGALoader")
    if loader is None:
        raise BoardError("openFPGALoader is missing: apt install openfpgaloader, or install the "
                         "OSS CAD Suite and put its bin/ on PATH")
    arguments = [loader, "--board", board.loader_board, *(["--write-flash"] if flash else []),
                 str(path)]
    code = subprocess.run(arguments, stdout=STDERR).returncode
    if code != 0:
        raise BoardError(f"openFPGALoader failed with exit code {code}: is the board connected and "
                         "powered, and its USB port not in use by another program?")
    out.say(f"{target} carries {path}")
    out.result({"target": target, "bitstream": str(path), "flash": flash})
