"""Where the hard blocks go: the array as rows and columns, the memory's lanes beside its rows.

Block RAMs and multipliers of an FPGA stand in few long rows, and a placer that moves them one by
one scatters an array over the whole chip. Here the vector's element decides how far to the right a
block goes, so that lane, activation and multiplier of one array row are close together and sums
move steadily to the right; all soft logic then finds its place between them.
"""

from dataclasses import dataclass

from systolith.hw.config import Config

__all__ = ["ECP5_85F_SITES", "Sites", "floorplan"]


#: Elements of 8 bits in one block RAM that are addressed without others.
_BLOCK_WORDS = 2048


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

    The requantisers of POST get what is left over, the first lane leftmost.
    """
    rows = sites.multipliers
    share = -(-config.columns_of_dsp // len(rows))
    places = {}
    for k, row in enumerate(rows):
        columns = range(k * share, min((k + 1) * share, config.columns_of_dsp))
        cells = [(r, n) for r in range(config.rows) for n in columns]
        if len(cells) > len(row):
            return {}
        for (r, n), site in zip(cells, _spread(len(cells), row), strict=True):
            places[f"{core}.array.{_multiplier(config, r, n)}_mult18"] = site
    taken = set(places.values())
    free = [site for column in zip(*rows, strict=True) for site in column if site not in taken]
    parts = ("low", "low_high", "high_low", "top")[:config.post_multipliers]
    wide = [f"{core}.lanes.requantize{lane}.{part}_mult18" for lane in range(config.post_lanes)
            for part in parts]
    if len(wide) <= len(free):
        places |= zip(wide, _spread(len(wide), free), strict=True)
    return places


def _multiplier(config, row, column):
    """Return the name of a multiplier in its array."""
    if config.clustered:
        return "dsp_mac{}_{}_{}".format(column, *divmod(row, config.cluster_rows))
    return f"dsp_mac{column * config.rows + row}"


def _memories(config, sites, core):
    """Sweep the sites pair by pair from left to right, lane by lane of all banks.

    Sums leave the array at its right end: there are the accumulators, a column's two stores a pair.
    """
    columns = zip(*(zip(row[::2], row[1::2], strict=True) for row in sites.memories), strict=True)
    pairs = [pair for column in columns for pair in column]
    blocks = config.bank_words // _BLOCK_WORDS
    lanes = [f"{core}.memory.bank{b}.lane{lane}.ebr{i}" for lane in range(config.lanes)
             for b in range(config.banks) for i in range(blocks)]
    banks = [lanes[i:i + 2] for i in range(0, len(lanes), 2)]
    stores = [[f"{core}.stores.column{n}_store{s}.ebr0" for s in range(2)]
              for n in range(config.columns)]
    left = len(pairs) - len(stores)
    if len(banks) > left or blocks not in (1, 2) or config.operand_bits != 8:
        return {}
    chosen = _spread(len(banks), pairs[:left]) + pairs[left:]
    return {cell: site for cells, pair in zip(banks + stores, chosen, strict=True)
            for cell, site in zip(cells, pair, strict=False)}


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
