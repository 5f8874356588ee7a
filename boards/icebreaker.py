"""iCEBreaker with an iCE40UP5K: the small target."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from systolith.boards.pll import Ice40Pll
from systolith.boards.target import Target
from systolith.boards.toolchain import ICE40_UP5K
from systolith.hw.config import Config

__all__ = ["ICEBREAKER"]


def _platform() -> ICEBreakerPlatform:
    platform = ICEBreakerPlatform()
    platform.add_resources(platform.break_off_pmod)
    return platform


ICEBREAKER = Target(
    config=Config(
        name="icebreaker", rows=4, columns=4, post_lanes=1, banks=2, bank_words=16384,
        bank_ports="single", alignment=2, accumulator_depth=256, accumulator_bits=24,
        program_words=1024, pipelining="shallow", multiplier_stages=2,
        prefetch_descriptors=False, residual=False, frame_bytes=128,
    ),
    description="1BitSquared iCEBreaker, Lattice iCE40UP5K: 16 multipliers, 128 KiB",
    device="iCE40UP5K-SG48",
    platform=_platform,
    toolchain=ICE40_UP5K,
    pll=Ice40Pll,
    clock_hz=24_000_000,
    baud=1_000_000,
    link="FTDI FT2232H channel B on the USB socket (pins 6 in, 9 out)",
    reset_button=("button", 0),
    leds={"busy": ("led", 2), "fault": ("led", 3), "activity": ("led", 4)},
    loader_board="ice40_generic",
)
