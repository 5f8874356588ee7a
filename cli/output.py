"""Where a command's words go: the result to stdout, everything else to stderr."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Json", "Output"]

#: The option every command takes.
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone on stdout.")]

#: Columns of a page without an edge.
_UNLIMITED = 1000


class Output:
    """The two audiences of a command: people, and programs that asked for JSON.

    Parameters
    ----------
    as_json : bool
        Print the result as JSON on stdout, and what people read on stderr.
    """

    def __init__(self, as_json: bool):
        self.as_json = as_json
        #: Tables and sentences; brackets in them are brackets, not markup.
        self.people = Console(stderr=as_json, highlight=False, markup=False)
        #: Progress, always on stderr.
        self.log = Console(stderr=True, highlight=False, markup=False)

    def say(self, *things: object) -> None:
        """Print for people."""
        self.people.print(*things)

    def result(self, data: dict[str, Any]) -> None:
        """Print the machine-readable result if it was asked for."""
        if self.as_json:
            json.dump(data, sys.stdout, indent=2, default=_plain)
            sys.stdout.write("\n")
            sys.stdout.flush()

    def table(self, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
        """Return an empty table; the columns named in ``numbers`` are set flush right."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="right" if column in numbers else "left",
                             no_wrap=column in numbers, overflow="fold")
        return table

    def show(self, table: Table) -> None:
        """Print a table; as wide as it wants to be where no terminal limits it."""
        if not self.people.is_terminal:
            free = self.people.options.update(max_width=_UNLIMITED)
            wanted = Measurement.get(self.people, free, table).maximum
            self.people.width = max(self.people.width, wanted)
        self.say(table)

    def progress(self) -> Progress:
        """Return a progress display that vanishes when it is done."""
        return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                        TimeElapsedColumn(), console=self.log, transient=True,
                        disable=not self.log.is_terminal)


def _plain(value: object) -> Any:
    """Make NumPy scalars and paths printable."""
    return value.item() if hasattr(value, "item") else str(value)
