"""``systolith devices``: what ``--device`` can name on this machine."""

import os

from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "PERMISSION_FIX", "command", "list_devices"]

EXAMPLE = "Example: systolith devices"
#: How a user gets access to serial ports.
PERMISSION_FIX = "sudo usermod -aG dialout $USER, then log in anew"


def list_devices() -> list[dict[str, str | bool]]:
    """Return URL, description and usability of the models and the serial ports."""
    from serial.tools.list_ports import comports

    devices: list[dict[str, str | bool]] = [
        {"url": "sim:", "usable": True, "description": "the RTL, compiled by Verilator"},
        {"url": "machine:", "usable": True, "description": "the instruction-level model"},
    ]
    for port in sorted(comports()):
        usable = os.access(port.device, os.R_OK | os.W_OK)
        hint = "" if usable else f" (no permission: {PERMISSION_FIX})"
        devices.append({"url": f"serial:{port.device}", "usable": usable,
                        "description": f"{port.description}{hint}"})
    return devices


def command(as_json: Json = False) -> None:
    """List the devices a program can run on: models and serial ports."""
    out = Output(as_json)
    devices = list_devices()
    table = out.table("device", "what it is")
    for device in devices:
        table.add_row(str(device["url"]), str(device["description"]))
    out.say(table)
    out.result({"devices": devices})
