"""ECPIX-5 with an ECP5UM5G-85F: the large target in a larger package and a faster grade."""

import dataclasses

from amaranth_boards.ecpix5 import ECPIX585Platform

from systolith.boards.floorplan import ECP5_85F_SITES
from systolith.boards.pll import Ecp5Pll
from systolith.boards.target import Target
from systolith.boards.toolchain import DETOURS, ecp5
from systolith.boards.ulx3s import ULX3S_85F

__all__ = ["ECPIX5_85F"]

ECPIX5_85F = Target(
    config=dataclasses.replace(ULX3S_85F.config, name="ecpix5-85f"),
    description="LambdaConcept ECPIX-5, Lattice ECP5UM5G-85F: 128 multipliers, 320 KiB",
    device="LFE5UM5G-85F-8BG554",
    platform=ECPIX585Platform,
    toolchain=ecp5("um5g-85k", "CABGA554", speed=8, sites=ECP5_85F_SITES,
                   timing_weight=20, settings=DETOURS),
    pll=Ecp5Pll,
    clock_hz=160_000_000,
    baud=3_000_000,
    link="FTDI FT2232H channel B on the debug USB socket (pins R26 in, R24 out)",
    reset_button=("rst", 0),
    leds={"busy": ("rgb_led", 0, "g"), "fault": ("rgb_led", 0, "r"),
          "activity": ("rgb_led", 0, "b")},
    loader_board="ecpix5",
)
