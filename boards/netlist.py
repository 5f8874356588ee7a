"""What Yosys's netlist needs on its way to nextpnr."""

from collections import Counter

from systolith.hw.carry import CARRY_IN

__all__ = ["open_carry_ends"]

#: An unconnected bit.
_OPEN = "x"


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
