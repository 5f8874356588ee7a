"""Verilog text of a component, the same on every machine."""

from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["to_verilog"]


def to_verilog(component: wiring.Component, *, name: str = "top") -> str:
    """Return the Verilog of ``component`` with ports ``clk``, ``rst`` and its flattened members.

    A member ``rx`` that is a stream becomes ``rx__payload``, ``rx__valid`` and ``rx__ready``.
    Source locations are left out: they would put this machine's paths into the text.
    """
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
