"""``systolith targets``: the boards there are."""

from dataclasses import asdict

from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith targets --json"


def command(as_json: Json = False) -> None:
    """List the targets: their arrays, memories, clocks and links."""
    from systolith.boards.targets import TARGETS

    out = Output(as_json)
    table = out.table("target", "FPGA", "array", "memory", "clock", "link")
    for name, target in TARGETS.items():
        config = target.config
        table.add_row(name, target.device, f"{config.rows} x {config.columns}",
                      f"{config.memory_bytes // 1024} KiB", f"{target.clock_hz / 1e6:g} MHz",
                      f"{target.baud / 1e6:g} Mbaud")
    out.say(table)
    out.result({"targets": [
        {"name": name, "device": target.device, "clock_hz": target.clock_hz, "baud": target.baud,
         "description": target.description, "link": target.link,
         "config": asdict(target.config), "config_hash": f"{target.config.hash:08x}"}
        for name, target in TARGETS.items()
    ]})
