"""What an ECP5-25F carries: 24k LUTs, 28 multipliers and 56 block RAMs, whatever the board."""

from systolith.hw.config import Config

__all__ = ["accelerator"]


def accelerator(name: str) -> Config:
    """Return the configuration, under a board's name.

    Eight lanes of five banks take 40 block RAMs, accumulators 8, program and link 4. Half of the
    array's multipliers and four requantisers take all DSPs; the other half are LUTs.
    """
    return Config(
        name=name, rows=8, columns=4, post_lanes=4, banks=5, bank_words=2048,
        accumulator_depth=512, program_words=1024, multiplier="mixed", dsp_columns=2,
        prefetch_descriptors=False, frame_bytes=256,
    )
