"""OrangeCrab with an ECP5-25F."""

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform
from amaranth_boards.resources import UARTResource

from systolith.boards.ecp5_25f import accelerator
from systolith.boards.pll import Ecp5Pll
from systolith.boards.target import Target
from systolith.boards.toolchain import ecp5

__all__ = ["ORANGECRAB_25F"]


def _platform() -> OrangeCrabR0_2_25FPlatform:
    platform = OrangeCrabR0_2_25FPlatform()
    # its USB is wired to the FPGA itself: the link needs an adapter, on the Feather's own UART pins
    platform.add_resources([UARTResource(0, rx="0", tx="1", conn=("io", 0),
                                         attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP"))])
    return platform


ORANGECRAB_25F = Target(
    config=accelerator("orangecrab-25f"),
    description="OrangeCrab r0.2, Lattice ECP5-25F: 32 multipliers, 80 KiB",
    device="LFE5U-25F-8MG285",
    platform=_platform,
    toolchain=ecp5("25k", "CSFBGA285", speed=8),
    pll=Ecp5Pll,
    clock_hz=96_000_000,
    baud=3_000_000,
    link="a USB-UART adapter of 3.3 V on pins 0 (in, N17) and 1 (out, M18) of the header",
    reset_button=("button", 0),
    leds={"busy": ("rgb_led", 0, "g"), "fault": ("rgb_led", 0, "r"),
          "activity": ("rgb_led", 0, "b")},
    loader_board="orangeCrab",
)
