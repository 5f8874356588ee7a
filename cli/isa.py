"""``systolith isa``: the manual of the instruction set."""

import sys

from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith isa > docs/isa.md"


def command(as_json: Json = False) -> None:
    """Print the manual of the instruction set as Markdown."""
    from systolith.sw.isa_doc import isa_data, isa_text

    if not as_json:
        sys.stdout.write(isa_text())
    Output(as_json).result(isa_data())
