"""ULX3S with an ECP5-85F: the large target, and three times as many multipliers on the same chip."""

from dataclasses import replace

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from systolith.boards.pll import Ecp5Pll
from systolith.boards.target import Target
from systolith.boards.toolchain import ECP5_85F
from systolith.hw.config import Config

__all__ = ["ULX3S_85F", "ULX3S_85F_MIXED"]

ULX3S_85F = Target(
    config=Config(
        name="ulx3s-85f", rows=16, columns=8, post_lanes=8, banks=5, bank_words=4096,
        window=True, window_width=128, accumulator_depth=512, program_words=4096,
    ),
    description="Radiona ULX3S, Lattice ECP5-85F: 128 multipliers, 320 KiB",
    device="LFE5U-85F-6CABGA381",
    platform=ULX3S_85F_Platform,
    toolchain=ECP5_85F,
    pll=Ecp5Pll,
    clock_hz=100_000_000,
    baud=3_000_000,
    link="FTDI FT231X on USB1 (pins M1 in, L4 out)",
    reset_button=("button_pwr", 0),
    leds=(0, 1, 2),
    loader_board="ulx3s",
)

ULX3S_85F_MIXED = replace(
    ULX3S_85F,
    config=Config(
        name="ulx3s-85f-mixed", rows=24, columns=16, multiplier="mixed", dsp_columns=3,
        cluster_rows=6, cluster_columns=2, multiplier_stages=2, post_lanes=16, post_multipliers=4,
        banks=2, bank_words=4096, window=True, window_width=128, accumulator_depth=512,
        program_words=2048,
    ),
    description="Radiona ULX3S, Lattice ECP5-85F: 384 multipliers, 312 of them LUTs, 256 KiB",
    clock_hz=80_000_000,
)
