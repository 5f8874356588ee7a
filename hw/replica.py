"""Registers that hold the same value in several places, so that each place has one nearby."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["REPLICA", "copy_of", "replica"]

#: Attribute of these registers' wires. Synthesis would make one of registers that are always
#: equal: the scripts of :mod:`systolith.boards` keep those with the attribute.
REPLICA = "replica"


def replica(shape, *, name: str, reset_less: bool = True) -> Signal:
    """Return a register to keep beside its equals; on the data path it needs no reset."""
    return Signal(shape, name=name, reset_less=reset_less, attrs={REPLICA: 1})


def copy_of(m: Module, value: Value, *, name: str) -> Signal:
    """Return ``value`` a cycle later, in a register to keep beside its equals."""
    after = replica(len(value), name=name)
    m.d.sync += after.eq(value)
    return after
