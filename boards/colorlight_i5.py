"""Colorlight i5 with an ECP5-25F, on its extension board."""

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource

from systolith.boards.ecp5_25f import accelerator
from systolith.boards.pll import Ecp5Pll
from systolith.boards.target import Target
from systolith.boards.toolchain import ecp5

__all__ = ["COLORLIGHT_I5", "ColorlightI5Platform"]


class ColorlightI5Platform(LatticeECP5Platform):
    """Clock and LED of the i5 v7.0, UART and button of Muse Lab's extension board.

    References
    ----------
    github.com/wuxx/Colorlight-FPGA-Projects (pins of both boards, found by measuring);
    ``colorlight_i5.py`` of LiteX-Boards.
    """

    device = "LFE5U-25F"
    package = "BG381"
    speed = "6"
    default_clk = "clk25"
    connectors = []
    resources = [
        Resource("clk25", 0, Pins("P3", dir="i"), Clock(25e6), Attrs(IO_TYPE="LVCMOS33")),
        *LEDResources(pins="U16", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
        *ButtonResources(pins="K18", invert=True,
                         attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
        UARTResource(0, rx="H18", tx="J17", attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
    ]


COLORLIGHT_I5 = Target(
    config=accelerator("colorlight-i5"),
    description="Colorlight i5 v7.0, Lattice ECP5-25F: 32 multipliers, 80 KiB",
    device="LFE5U-25F-6BG381C",
    platform=ColorlightI5Platform,
    toolchain=ecp5("25k", "CABGA381", speed=6),
    pll=Ecp5Pll,
    clock_hz=87_500_000,
    baud=1_000_000,
    link="the programmer's UART on the extension board's USB socket (pins H18 in, J17 out)",
    reset_button=("button", 0),
    leds={"busy": ("led", 0)},
    loader_board="colorlight-i5",
)
