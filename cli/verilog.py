"""``systolith verilog``: the accelerator for other tools."""

import json
from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.output import Json, Output
from systolith.sw.files import write_text

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith verilog ulx3s-85f --directory build/verilog"


def command(
    target: Annotated[str, typer.Argument(
        help="Name of a board, or a configuration as a .json file.")],
    directory: Annotated[Path | None, typer.Option(
        "--directory", "-d", help="Where to write; build/TARGET-verilog if not given.")] = None,
    clock_hz: Annotated[int | None, typer.Option(
        min=1, help="Frequency of clk; the board's or 100 MHz if not given.")] = None,
    baud: Annotated[int | None, typer.Option(
        min=1, help="Bits a second of the link; the board's or 1000000 if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Write plain Verilog and a memory map, for vendor tools and boards of your own."""
    from systolith.boards.targets import TARGETS, find_config
    from systolith.boards.verilog import memory_map, memory_map_text, verilog_text

    out = Output(as_json)
    config = find_config(target)
    board = TARGETS.get(target)
    clock_hz = clock_hz or (board.clock_hz if board else 100_000_000)
    baud = baud or (board.baud if board else 1_000_000)
    folder = directory or Path("build") / f"{config.name}-verilog"
    texts = {
        "systolith.v": verilog_text(config, clk_hz=clock_hz, baud=baud),
        "memory_map.md": memory_map_text(config),
        "memory_map.json": json.dumps(memory_map(config), indent=2) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
        out.say(f"{folder / name}  {len(text) // 1024} KiB")
    out.say(f"Clock {clock_hz / 1e6:g} MHz, link {baud / 1e6:g} Mbaud; ports clk, rst, rx, tx and "
            "three indicators.")
    out.result({"files": [str(folder / name) for name in texts], "clock_hz": clock_hz,
                "baud": baud, "config_hash": f"{config.hash:08x}"})
