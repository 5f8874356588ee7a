"""``systolith bench``: cycles of the zoo's networks, measured on the RTL."""

from dataclasses import asdict
from typing import Annotated

import typer

from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith bench --network resnet8 --network dscnn"


def command(
    target: Annotated[str, typer.Option(
        "--target", "-t", help="Name of a board, or a configuration as a .json file.")] = (
            "ulx3s-85f"),
    network: Annotated[list[str] | None, typer.Option(
        "--network", "-n", help="A network of the zoo; may be given again. All that fit, if "
                                "left out.")] = None,
    check: Annotated[bool, typer.Option(
        "--check", help="Fail where cycles grew over the committed baseline by more than 1 %.")] = (
            False),
    as_json: Json = False,
) -> int:
    """Run every network of the zoo on the compiled RTL and tell its cycles.

    One image each, checked against the golden model bit for bit. The exit code is 1 if --check
    finds a network that became slower.
    """
    from systolith.boards.targets import find_config
    from systolith.examples.benchmark import entry_called, grown, measure
    from systolith.examples.zoo import ZOO
    from systolith.sw.errors import CapacityError

    out = Output(as_json)
    config = find_config(target)
    entries = [entry_called(name) for name in network or ()] or list(ZOO.values())
    rows, left_out = [], {}
    with out.progress() as progress:
        task = progress.add_task(target, total=len(entries))
        for entry in entries:
            try:
                rows.append(measure(entry, target, config))
            except CapacityError as error:
                if network:
                    raise
                left_out[entry.name] = str(error)
            progress.advance(task)
    _print(out, rows)
    for name, reason in left_out.items():
        out.say(f"{name} does not fit: {reason}")
    slower = [text for row in rows if (text := grown(row.target, row.network, row.cycles))]
    if check:
        for text in slower:
            out.say(text)
    out.result({"rows": [asdict(row) for row in rows], "does_not_fit": left_out,
                "slower": slower})
    return 1 if check and slower else 0


def _print(out: Output, rows) -> None:
    numbers = ("MACs", "cycles", "predicted", "of peak")
    table = out.table("network", *numbers, numbers=numbers)
    for row in rows:
        table.add_row(row.network, f"{row.macs:,}", f"{row.cycles:,}",
                      f"{row.predicted_cycles:,}", f"{row.utilization:.1%}")
    out.say(table)
