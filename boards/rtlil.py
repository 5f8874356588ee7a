"""What Amaranth's RTLIL needs on its way to Yosys."""

import re

__all__ = ["PLACEHOLDER", "prepare", "stamp"]

#: Stands for the build hash while the design is elaborated: the design's text is part of what is
#: hashed. Any number of 32 bits that is nowhere else in it.
PLACEHOLDER = 0xB5297A4D

#: A clocked read port whose value at an address being written is neither asked to be the new (the
#: transparency mask) nor marked as unused; both masks are one bit, for the one write port.
_COLLIDING = re.compile(r"(parameter \\TRANSPARENCY_MASK 1'0\n\s*parameter \\COLLISION_X_MASK) 1'0"
                        r"(?=\n(?:\s*parameter .*\n)*?\s*parameter \\CLK_ENABLE 1\n)")


def prepare(rtlil: str) -> str:
    r"""Return the design with brackets renamed and read-write collisions without a value.

    ``\data[3]`` becomes ``\data<3>``, for Yosys's ABC9 takes it for bit 3 of ``\data``: Amaranth
    names the elements of array layouts so. In RTLIL a bit of a wire is written with a space before
    the bracket.

    Amaranth's memories read the old value of a word that is written in the same cycle. Block RAM
    of ECP5 and iCE40 does not promise that, so Yosys would add a comparator and a second way for
    the data to each; but no part of the design uses such a value (ports that do are transparent).
    """
    renamed = re.sub(r"\\\S+", lambda name: name[0].replace("[", "<").replace("]", ">"), rtlil)
    return _COLLIDING.sub(r"\1 1'1", renamed)


def stamp(rtlil: str, build_hash: int) -> str:
    """Return the design that was elaborated with ``PLACEHOLDER`` with its build hash instead."""
    return rtlil.replace(f"{PLACEHOLDER:032b}", f"{build_hash:032b}")
