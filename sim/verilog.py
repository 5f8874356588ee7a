"""Verilog text of a component, the same on every machine."""

import re

from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["to_verilog"]

#: Lines that give consecutive words of a memory the same value.
_FILL = re.compile(r"^ +(?P<memory>\S+ ?)\[(?P<first>\d+)\] = (?P<value>\S+);\n"
                   r"(?: +(?P=memory)\[\d+\] = (?P=value);\n)*"
                   r" +(?P=memory)\[(?P<last>\d+)\] = (?P=value);\n", re.M)


def to_verilog(component: wiring.Component, *, name: str = "top") -> str:
    """Return the Verilog of ``component`` with ports ``clk``, ``rst`` and its flattened members.

    A member ``rx`` that is a stream becomes ``rx__payload``, ``rx__valid`` and ``rx__ready``.
    Source locations are left out: they would put this machine's paths into the text. Memories are
    initialised in loops: a line a word would be nine tenths of the text.
    """
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return _FILL.sub(_as_loop, text)


def _as_loop(fill: re.Match[str]) -> str:
    first, last = int(fill["first"]), int(fill["last"])
    if fill[0].count("\n") != last - first + 1:
        return fill[0]
    return (f"    begin : fill_{fill.start()}\n"
            "      integer i;\n"
            f"      for (i = {first}; i <= {last}; i = i + 1)\n"
            f"        {fill['memory']}[i] = {fill['value']};\n"
            "    end\n")
