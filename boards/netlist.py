"""What Yosys's netlist needs on its way to nextpnr."""

from collections import Counter
from functools import cache
from itertools import permutations, product

from systolith.hw.carry import CARRY_IN

__all__ = ["amend_carries", "open_carry_ends", "spread_chain_inputs"]

#: An unconnected bit.
_OPEN = "x"
#: Inputs of a LUT, and LUTs of a tile.
_PINS = "ABCD"
_TILE = 8
#: Exchanges that are followed while a tile's are chosen.
_WAYS = 64
#: LUTs with which nextpnr leads a carry into a chain.
_FEED_IN = 2


def amend_carries(netlist: dict) -> None:
    """Open the ends of carry chains, then spread their inputs."""
    open_carry_ends(netlist)
    spread_chain_inputs(netlist)


def open_carry_ends(netlist: dict) -> None:
    """Disconnect the unused ends of the carry chains of an ECP5.

    Yosys writes a net for a carry output nobody reads and a constant for a carry input nobody
    drives. nextpnr leads each out of the chain, or into it, with two more LUTs. Chains that Yosys
    makes do need their constant; those of :mod:`systolith.hw.carry` begin with a LUT that makes the
    carry whatever enters.

    Parameters
    ----------
    netlist : dict
        What ``write_json`` wrote; changed in place.
    """
    for module in netlist["modules"].values():
        chains = [cell for cell in module["cells"].values() if cell["type"] == "CCU2C"]
        ends = Counter(bit for cell in module["cells"].values()
                       for bits in cell["connections"].values() for bit in bits)
        ends.update(bit for port in module["ports"].values() for bit in port["bits"])
        for cell in chains:
            connections = cell["connections"]
            if [ends[bit] for bit in connections["COUT"]] == [1]:
                connections["COUT"] = [_OPEN]
            if (isinstance(connections["CIN"][0], str)
                    and int(cell["parameters"]["INIT0"], 2) == CARRY_IN):
                connections["CIN"] = [_OPEN]


def spread_chain_inputs(netlist: dict) -> None:
    """Spread what carry chains add over all four inputs of their LUTs.

    An ECP5 tile feeds inputs A, B, C and D of its LUTs from wires of their own, a quarter each
    (Project Trellis, PLC2). The router exchanges the inputs of a LUT, but not of one in a chain;
    and every adder has its operands at A and B, every row of partial products its activations at A
    and C. Here the LUTs of a tile get those exchanges that take few nets to each quarter, of those
    for which there is a table with the same sum and the same carry.

    Parameters
    ----------
    netlist : dict
        What ``write_json`` wrote; changed in place.
    """
    for module in netlist["modules"].values():
        cells = [cell for cell in module["cells"].values() if cell["type"] == "CCU2C"]
        carries = {cell["connections"]["COUT"][0] for cell in cells} - {_OPEN}
        after = {carry: cell for cell in cells
                 if (carry := cell["connections"]["CIN"][0]) in carries}
        for cell in cells:
            carry = cell["connections"]["CIN"][0]
            if carry not in after:
                _spread_chain(cell, after, first=0 if carry == _OPEN else _FEED_IN)


def _spread_chain(cell, after, first):
    """Exchange the inputs of a chain, whose cell this is the first of, tile by tile."""
    luts, position = [], first
    while cell:
        luts += [(cell, "0"), (cell, "1")]
        position += 2
        cell = after.get(cell["connections"]["COUT"][0])
        if position % _TILE == 0 or not cell:
            _spread_tile(luts)
            luts = []


def _spread_tile(luts):
    """Exchange the inputs of LUTs in one tile: each is a cell and the half of it."""
    numbers = {}                                 # of nets, as they come
    tile = []
    for cell, half in luts:
        bits = [cell["connections"][pin + half][0] for pin in _PINS]
        tile.append((int(cell["parameters"][f"INIT{half}"], 2),
                     "".join("n" if isinstance(bit, int) else bit for bit in bits),
                     tuple(numbers.setdefault(bit, len(numbers))
                           for bit in bits if isinstance(bit, int))))
    nets = list(numbers)
    for (cell, half), (_, _, inputs), (pins, table) in zip(luts, tile, _choose(tuple(tile)),
                                                           strict=True):
        cell["parameters"][f"INIT{half}"] = f"{table:016b}"
        for pin in _PINS:
            cell["connections"][pin + half] = ["1"]
        for net, pin in zip(inputs, pins, strict=True):
            cell["connections"][pin + half] = [nets[net]]


@cache
def _choose(tile):
    """Choose an exchange for each LUT of a tile: (table, levels, nets) of all of them.

    Few nets are wanted in each quarter, so the sum of their squares is: the best few ways are
    followed from LUT to LUT.
    """
    ways = [(0, (frozenset(),) * len(_PINS), ())]
    for table, levels, nets in tile:
        longer = {}
        for _, quarters, chosen in ways:
            for exchange in _exchanges(table, levels):
                more = dict(zip(exchange[0], nets, strict=True))
                after = tuple(quarter | {more[pin]} if pin in more else quarter
                              for pin, quarter in zip(_PINS, quarters, strict=True))
                longer.setdefault(after, (*chosen, exchange))
        ways = sorted(((sum(len(quarter) ** 2 for quarter in quarters), quarters, chosen)
                       for quarters, chosen in longer.items()), key=lambda way: way[0])[:_WAYS]
    return ways[0][2]


@cache
def _exchanges(table: int, levels: str) -> list[tuple[tuple[str, ...], int]]:
    """Return the pins that the nets of a LUT may go to, and the table for each choice.

    ``levels`` has, for each pin, ``n`` for a net, or a constant: an open pin is high, and so is
    a pin without a net afterwards. The sum is the table's entry and the carry; where the entry is
    low, the next carry is what the table has for the same A and B with C and D low.
    """
    levels = levels.replace(_OPEN, "1")
    nets = levels.count("n")
    wanted = []
    for values in product((0, 1), repeat=nets):
        rest = iter(values)
        index = _index(next(rest) if level == "n" else int(level) for level in levels)
        wanted.append((values, table >> index & 1, table >> (index & 3) & 1))
    found = []
    for pins in permutations(_PINS, nets):
        entries, fits = {}, True
        indices = [_index(dict(zip(pins, values, strict=True)).get(pin, 1) for pin in _PINS)
                   for values, _, _ in wanted]
        for index, (_, entry, _) in zip(indices, wanted, strict=True):
            entries[index] = entry
        for index, (_, entry, carry) in zip(indices, wanted, strict=True):
            fits &= entry or entries.setdefault(index & 3, carry) == carry
        if fits:
            found.append((pins, sum(entry << index for index, entry in entries.items())))
    return found


def _index(values):
    return sum(value << i for i, value in enumerate(values))
