"""Where the hard blocks go: the array as rows and columns, the memory's lanes beside its rows.

Block RAMs and multipliers of an FPGA stand in few long rows, and a placer that moves them one by
one scatters an array over the whole chip. Here the vector's element decides how far to the right a
block goes, so that lane, activation and multiplier of one array row are close together and sums
move steadily to the right; all soft logic then finds its place between them.
"""

from dataclasses import dataclass

from systolith.hw.block_ram import ebr_count
from systolith.hw.config import Config

__all__ = ["ECP5_85F_SITES", "Sites", "floorplan"]


@dataclass(frozen=True, slots=True)
class Sites:
    """The hard blocks of one FPGA, row by row, each from left to right."""

    multipliers: tuple[tuple[str, ...], ...]
    memories: tuple[tuple[str, ...], ...]


def floorplan(config: Config, sites: Sites, core: str) -> dict[str, str]:
    """Return the place of every multiplier of the array and every block of the memory.

    Parameters
    ----------
    config : Config
        The accelerator.
    sites : Sites
        The FPGA's.
    core : str
        Path of the core in the flattened design.

    Returns
    -------
    dict
        Cell -> site. Empty if the FPGA has too few: then the placer decides.
    """
    return _multipliers(config, sites, core) | _memories(config, sites, core)


def _multipliers(config, sites, core):
    """Share the columns out over the rows of sites; array row r goes the further right.

    The requantisers of POST stand at the right ends of the rows, where the sums are drained. Outer
    rows take the more columns, so that most requantisers are in the middle.
    """
    rows = sites.multipliers
    inwards = sorted(range(len(rows)), key=lambda k: min(k, len(rows) - 1 - k))
    share = [config.columns_of_dsp // len(rows)] * len(rows)
    for k in inwards[:config.columns_of_dsp % len(rows)]:
        share[k] += 1
    free = [len(row) - n * config.rows for row, n in zip(rows, share, strict=True)]
    if min(free) < 0:
        return {}
    parts = ("low", "low_high", "high_low", "top")[:config.post_multipliers]
    lanes = [room // len(parts) for room in free]
    # in training no multiplier stands behind the sums; with too little room the placer finds it
    if config.training or sum(lanes) < config.post_lanes:
        lanes = [0] * len(rows)
    places, column, lane = {}, 0, 0
    for row, n, ends in zip(rows, share, lanes, strict=True):
        ends = min(ends, config.post_lanes - lane) * len(parts)
        cells = [f"{core}.array.{_multiplier(config, r, c)}_mult18"
                 for r in range(config.rows) for c in range(column, column + n)]
        wide = [f"{core}.lanes.requantize{lane + i // len(parts)}.{parts[i % len(parts)]}_mult18"
                for i in range(ends)]
        left = len(row) - ends
        places |= zip(cells + wide, _spread(len(cells), row[:left]) + list(row[left:]),
                      strict=True)
        column, lane = column + n, lane + ends // len(parts)
    return places


def _multiplier(config, row, column):
    """Return the name of a multiplier in its array."""
    if config.clustered:
        return "dsp_mac{}_{}_{}".format(column, *divmod(row, config.cluster_rows))
    return f"dsp_mac{column * config.rows + row}"


def _memories(config, sites, core):
    """Give each lane of all banks a stretch of a row of sites: side by side, not one far above.

    Sites are taken in pairs. As many lanes as there are rows of sites stand one above the other,
    the next ones to their right. Between them, in the middle, are the program and the window's
    rows. Sums leave the array at its right end: there are the accumulators, column by column from
    the upper rows to the lower like the array's.
    """
    grid = [list(zip(row[::2], row[1::2], strict=True)) for row in sites.memories]
    lanes = [_in_pairs([f"{core}.memory.bank{b}.lane{lane}" for b in range(config.banks)],
                       config.operand_bits, config.bank_words) for lane in range(config.lanes)]
    inner = _in_pairs([f"{core}.sequencer.words"], 32, config.program_words)
    if config.window:
        inner += _in_pairs([f"{core}.stream.window.rows"],
                           2 * config.columns * config.operand_bits, config.window_width)
    stores = _in_pairs([f"{core}.stores.column{n}_store{s}" for n in range(config.columns)
                        for s in range(2)], config.accumulator_bits, config.accumulator_depth)
    width, between, right = len(lanes[0]), _columns(inner, grid), _columns(stores, grid)
    blocks = _columns(lanes, grid)
    middle = blocks // 2 * width
    end = len(grid[0]) - right
    if blocks * width + between > end:
        return {}
    starts = [block * width + (between if block >= blocks // 2 else 0) for block in range(blocks)]
    stretches = [row[start:start + width] for start in starts for row in grid]
    places = [*zip(inner, [row[x] for x in range(middle, middle + between) for row in grid],
                   strict=False),
              *zip(stores, [pair for row in grid for pair in row[end:]], strict=False)]
    for cells, stretch in zip(lanes, stretches, strict=False):
        places += zip(cells, stretch, strict=True)
    return {cell: site for cells, pair in places for cell, site in zip(cells, pair, strict=False)}


def _columns(things, rows):
    """Return how many columns of sites take one thing a row."""
    return -(-len(things) // len(rows))


def _in_pairs(memories, width, depth):
    """Return the blocks of memories that are alike, two by two; the last may be alone."""
    cells = [f"{memory}.ebr{i}" for memory in memories for i in range(ebr_count(width, depth))]
    return [cells[i:i + 2] for i in range(0, len(cells), 2)]


def _spread(count, sites):
    """Return ``count`` of the sites, evenly over all of them."""
    return [sites[i * len(sites) // count] for i in range(count)]


def _row(kind: str, places: dict[int, str], y: int, blocks: range, jump: int) -> tuple[str, ...]:
    """Return one row: a group of sites every nine columns, with a wider gap in the middle."""
    starts = [9 * block + (jump if 9 * block > 60 else 0) for block in blocks]
    return tuple(f"X{start + x}/Y{y}/{kind}{place}" for start in starts
                 for x, place in places.items())


#: LFE5U-85F: three rows of 52 multipliers, four rows of 52 block RAMs (Project Trellis).
ECP5_85F_SITES = Sites(
    multipliers=tuple(_row("MULT18_", {4: "0", 5: "1", 8: "4", 9: "5"}, y, range(13), 2)
                      for y in (10, 34, 58)),
    memories=tuple(_row("EBR", {4: "0", 6: "1", 8: "2", 10: "3"}, y, range(13), 2)
                   for y in (22, 46, 70, 82)),
)
