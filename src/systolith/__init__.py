"""Systolith: an FPGA CNN accelerator generator.

``systolith.hw`` is what becomes silicon, ``systolith.sw`` what runs on the host, ``systolith.sim``
the models of both, ``systolith.boards`` the targets and their build flow, ``systolith.examples``
the zoo of networks, ``systolith.cli`` the command line above them all.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from systolith.hw.config import Config
    from systolith.sw.backend import DeviceError
    from systolith.sw.device import Device

__all__ = ["Device", "DeviceError", "open"]
__version__ = "0.1.0"


def open(url: str, config: "Config | None" = None) -> "Device":
    """Open a device by URL; see :func:`systolith.sw.device.open`, which is loaded only now."""
    from systolith.sw import device

    return device.open(url, config)


def __getattr__(name: str) -> Any:
    """Load the driver's classes when they are asked for."""
    if name in ("Device", "DeviceError"):
        from systolith.sw import device

        return getattr(device, name)
    raise AttributeError(f"module 'systolith' has no attribute {name!r}")
