"""ULX3S with an ECP5-85F: the large target."""

from dataclasses import replace

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from systolith.boards.floorplan import ECP5_85F_SITES
from systolith.boards.pll import Ecp5Pll
from systolith.boards.target import Target
from systolith.boards.toolchain import DETOURS, ecp5
from systolith.hw.config import Config

__all__ = ["ULX3S_85F", "ULX3S_85F_MIXED", "ULX3S_85F_TRAIN"]

ULX3S_85F = Target(
    config=Config(
        name="ulx3s-85f", rows=16, columns=8, post_lanes=8, banks=5, bank_words=4096,
        window=True, window_width=128, accumulator_depth=512, program_words=4096,
    ),
    description="Radiona ULX3S, Lattice ECP5-85F: 128 multipliers, 320 KiB",
    device="LFE5U-85F-6CABGA381",
    platform=ULX3S_85F_Platform,
    toolchain=ecp5("85k", "CABGA381", speed=6, sites=ECP5_85F_SITES, margin=0.03,
                   timing_weight=40, settings=DETOURS),
    pll=Ecp5Pll,
    clock_hz=131_250_000,
    seed=3,
    baud=3_000_000,
    link="FTDI FT231X on USB1 (pins M1 in, L4 out)",
    reset_button=("button_pwr", 0),
    leds={"busy": ("led", 0), "fault": ("led", 1), "activity": ("led", 2)},
    loader_board="ulx3s",
)

#: The same board with an accelerator that trains.
ULX3S_85F_TRAIN = replace(
    ULX3S_85F,
    config=Config(
        name="ulx3s-85f-train", rows=16, columns=8, post_lanes=8, operand_bits=16, banks=5,
        bank_words=2048, accumulator_bits=48, accumulator_depth=512, program_words=4096,
        multiplier_stages=3, output_stationary=True, training=True,
    ),
    description="Radiona ULX3S, Lattice ECP5-85F: trains, 128 multipliers of 16 bits, 320 KiB",
    toolchain=ecp5("85k", "CABGA381", speed=6, sites=ECP5_85F_SITES),
    clock_hz=90_000_000,
    seed=1,
)

#: The same board with three times the multipliers, most of them products on carry chains.
ULX3S_85F_MIXED = replace(
    ULX3S_85F,
    config=Config(
        name="ulx3s-85f-mixed", rows=24, columns=16, post_lanes=8, post_multipliers=4, banks=2,
        bank_words=4096, window=True, window_width=128, accumulator_depth=512,
        program_words=2048, multiplier="mixed", dsp_columns=5, multiplier_stages=2,
        cluster_rows=6, cluster_columns=2,
    ),
    description="Radiona ULX3S, Lattice ECP5-85F: 384 multipliers, DSPs and LUTs, 256 KiB",
    toolchain=ecp5("85k", "CABGA381", speed=6, sites=ECP5_85F_SITES, settings=DETOURS),
    clock_hz=80_000_000,
    seed=1,
)
