"""Registers that hold the same value in several places, so that each place has one nearby."""

from amaranth.hdl import Signal

__all__ = ["REPLICA", "replica"]

#: Attribute of these registers' wires. Synthesis would make one of registers that are always
#: equal: the scripts of :mod:`systolith.boards` keep those with the attribute.
REPLICA = "replica"


def replica(shape, *, name: str) -> Signal:
    """Return a register to keep beside its equals."""
    return Signal(shape, name=name, reset_less=True, attrs={REPLICA: 1})
