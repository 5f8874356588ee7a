"""``systolith``: the commands, and how their errors reach people."""

import os
import sys
import traceback
from types import ModuleType
from typing import Annotated

import typer

from systolith import __version__
from systolith.cli import (
    bench,
    build,
    compile,
    conformance,
    demo,
    demo_train,
    devices,
    doctor,
    explain,
    isa,
    program,
    run,
    targets,
    train,
    verilog,
)

__all__ = ["COMMANDS", "app", "execute", "main"]

#: Name -> module with a ``command`` and an ``EXAMPLE``.
COMMANDS: dict[str, ModuleType] = {
    "demo": demo,
    "demo-train": demo_train,
    "compile": compile,
    "explain": explain,
    "run": run,
    "train": train,
    "bench": bench,
    "build": build,
    "program": program,
    "verilog": verilog,
    "targets": targets,
    "devices": devices,
    "doctor": doctor,
    "isa": isa,
    "conformance": conformance,
}

#: Exit codes beside those that :mod:`systolith.sw.errors` gives its errors.
FAILED, USAGE, INTERNAL, INTERRUPTED = 1, 2, 70, 130

app = typer.Typer(
    name="systolith", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    help="CNN accelerators for small FPGAs: compile a network, run it on the simulated or the "
         "real hardware, turn the hardware into a bitstream.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong call or model, 3 wrong data, 4 does not fit, "
           "5 wrong program, 6 device, 7 training, 70 a fault of systolith itself, "
           "130 interrupted.",
)
for _name, _module in COMMANDS.items():
    app.command(_name, epilog=_module.EXAMPLE)(_module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"systolith {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option(
        "--version", help="Print the version.", callback=_print_version, is_eager=True)] = False,
    trace: Annotated[bool, typer.Option(
        "--traceback", help="Show where in the program an error arose.")] = False,
) -> None:
    """Take the options that belong to no command."""


def execute(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error becomes one line on stderr."""
    try:
        code = app(args=arguments, prog_name="systolith", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output left; nothing more can be said, not even by the interpreter.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print("systolith: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if "--traceback" in arguments:
            traceback.print_exc()
        code, message = _explain(error)
        print(f"systolith: {' '.join(message.split())}", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[int, str]:
    """Return exit code and message of an error."""
    from systolith.boards.errors import BoardError
    from systolith.hw.config import ConfigError
    from systolith.sw.errors import SystolithError

    if isinstance(error, typer.TyperException):
        return USAGE, f"{error.format_message()} (systolith --help tells how)"
    if isinstance(error, SystolithError):
        return error.exit_code, str(error)
    if isinstance(error, (BoardError, ConfigError)):
        return FAILED, str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return FAILED, where + (error.strerror or str(error))
    if isinstance(error, typer.Abort):
        return INTERRUPTED, "interrupted"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return INTERNAL, (f"internal error, please report it: {type(error).__name__}: {error} "
                      f"({place.filename}:{place.lineno}; `systolith --traceback` shows more)")


def main() -> None:
    """Run the command line; the entry point of ``systolith``."""
    sys.exit(execute(sys.argv[1:]))
