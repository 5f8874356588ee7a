"""Gowin's multipliers, with the registers of their own."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal

__all__ = ["gowin_multiplier"]


def gowin_multiplier(m: Module, a, b, *, pipeline: bool, name: str):
    """Return ``a * b`` from a MULT9X9 or MULT18X18, two cycles later, with ``pipeline`` three.

    Operand, (pipeline) and output registers are on one clock and reset never (UG287 "Gowin DSP").
    """
    width = 9 if max(len(a), len(b)) <= 9 else 18
    product = Signal(2 * width, name=f"{name}_p")
    wide = [Signal(width, name=f"{name}_{port}") for port in "ab"]
    m.d.comb += [port.eq(value) for port, value in zip(wide, (a, b), strict=True)]
    on = Const(1, 1)
    m.submodules[f"{name}_mult{width}"] = Instance(
        f"MULT{width}X{width}", p_AREG=on, p_BREG=on, p_PIPE_REG=Const(pipeline, 1), p_OUT_REG=on,
        i_CLK=ClockSignal(), i_CE=on, i_RESET=Const(0, 1), i_A=wide[0], i_B=wide[1],
        i_ASIGN=Const(a.shape().signed, 1), i_BSIGN=Const(b.shape().signed, 1),
        i_ASEL=Const(0, 1), i_BSEL=Const(0, 1), i_SIA=Const(0, width), i_SIB=Const(0, width),
        o_DOUT=product)
    exact = product[:len(a) + len(b)]
    return exact.as_signed() if a.shape().signed or b.shape().signed else exact
