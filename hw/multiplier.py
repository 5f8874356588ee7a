"""Registered multipliers: one behaviour, and the place that picks each family's primitive."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal

from systolith.hw.carry import multiply_on_carries
from systolith.hw.family import family
from systolith.hw.gowin import gowin_multiplier
from systolith.hw.latency import WIDE_STAGES

__all__ = ["delayed", "multiply_array", "multiply_held", "multiply_in_fabric", "multiply_wide",
           "part_bits"]


def delayed(m: Module, value, cycles: int, name: str):
    """Return ``value`` as it was ``cycles`` cycles ago."""
    for i in range(cycles):
        later = Signal.like(value, name=f"{name}_{i + 1}", reset_less=True)
        m.d.sync += later.eq(value)
        value = later
    return value


def multiply_array(m: Module, platform, operands: list[tuple], *, kind: str, stages: int,
                   name: str) -> list:
    """Multiply pairs of signed operands, each product ``stages`` cycles later.

    Each second operand is kept: it is the one of the last cycle in which its ``take`` was high,
    this one included.

    Parameters
    ----------
    operands : list of (Value, Value, Value)
        Equally wide signed pairs, 8 or 16 bits, and ``take``. On ECP5 the four DSPs of a block have
        four enables, of which one is always on: three of them at most may differ.
    kind : str
        ``dsp``: one MULT18X18D each on ECP5, half an SB_MAC16 on iCE40UP (8 bits), one MULT9X9 or
        MULT18X18 on Gowin; ``lut``: carry chains in the fabric.
    stages : int
        3 or 4. The fourth is a fabric register behind DSPs: the way out of their row may be long.
    """
    if kind == "lut":
        return [multiply_on_carries(m, platform, delayed(m, a, 1, f"{name}{i}_a"),
                                    _held(m, b, take, f"{name}{i}_b"), stages - 1,
                                    name=f"{name}{i}")
                for i, (a, b, take) in enumerate(operands)]
    target = family(platform)
    if target == "ecp5":
        products = [_mult18(m, a, b, True, True, True, f"{name}{i}", take)
                    for i, (a, b, take) in enumerate(operands)]
        return [delayed(m, p.as_signed(), stages - 3, f"{name}{i}_out")
                for i, p in enumerate(products)]
    if target == "gowin":
        return [delayed(m, gowin_multiplier(m, a, _kept(m, b, take, f"{name}{i}"), pipeline=True,
                                            name=f"{name}{i}"), stages - 3, f"{name}{i}_out")
                for i, (a, b, take) in enumerate(operands)]
    if target == "ice40" and len(operands[0][0]) == 8:
        return _mac16_pairs(m, [(a, _kept(m, b, take, f"{name}{i}"))
                                for i, (a, b, take) in enumerate(operands)], stages, name)
    return [delayed(m, _product(m, delayed(m, a, 1, f"{name}{i}_a"),
                                _held(m, b, take, f"{name}{i}_b"), f"{name}{i}"),
                    stages - 1, f"{name}{i}") for i, (a, b, take) in enumerate(operands)]


def multiply_held(m: Module, platform, operands: list[tuple], *, take, name: str) -> list:
    """Multiply pairs of signed operands, each product two cycles later, keeping the second ones.

    The second operands are those of the last cycle in which ``take`` was high, this one included.
    On iCE40UP 8-bit operands wait in the SB_MAC16s' own registers; elsewhere in the fabric, on ECP5
    and Gowin in front of DSPs, for those side by side have to share what enables their registers.
    """
    if family(platform) == "ice40" and len(operands[0][0]) == 8:
        return _mac16_pairs(m, operands, 2, name, hold=~take)
    products = []
    for i, (a, b) in enumerate(operands):
        if family(platform) in ("ecp5", "gowin"):
            now = _kept(m, b, take, f"{name}{i}")
            products.append(
                gowin_multiplier(m, a, now, pipeline=False, name=f"{name}{i}")
                if family(platform) == "gowin" else
                _mult18(m, a, now, True, True, False, f"{name}{i}").as_signed())
            continue
        held = _held(m, b, take, f"{name}{i}_b")
        product = _product(m, delayed(m, a, 1, f"{name}{i}_a"), held, f"{name}{i}")
        products.append(delayed(m, product, 1, f"{name}{i}"))
    return products


def _held(m, value, take, name):
    """Return a register that holds ``value`` as it was in the last cycle with ``take``."""
    held = Signal.like(value, name=name, reset_less=True)
    with m.If(take):
        m.d.sync += held.eq(value)
    return held


def _kept(m, value, take, name):
    """Return ``value`` in the cycles with ``take``, in others what it was in the last of them."""
    now = Signal.like(value, name=f"{name}_now")
    m.d.comb += now.eq(Mux(take, value, _held(m, value, take, f"{name}_b")))
    return now


def multiply_wide(m: Module, platform, a, b, *, name: str):
    """Return ``a * b``, ``WIDE_STAGES`` cycles later; operands fit one DSP of the family."""
    a_signed, b_signed = a.shape().signed, b.shape().signed
    target = family(platform)
    if target == "portable":
        return delayed(m, _product(m, a, b, name), WIDE_STAGES, name)
    if target == "gowin":
        return gowin_multiplier(m, a, b, pipeline=True, name=name)
    if target == "ecp5":
        product = _mult18(m, a, b, a_signed, b_signed, True, name)
    else:
        product = _mac16_wide(m, a, b, a_signed, b_signed, name)[:len(a) + len(b)]
    return product.as_signed() if a_signed or b_signed else product


def part_bits(platform) -> int:
    """Return how many low bits of a wide factor one DSP of the family takes."""
    return 16 if family(platform) == "ice40" else 18


def _product(m, a, b, name):
    product = Signal((a * b).shape(), name=f"{name}_product")
    m.d.comb += product.eq(a * b)
    return product


def multiply_in_fabric(m: Module, a, b, stages: int, *, name: str):
    """Return ``a * b``, ``stages`` cycles later, from rows of partial products added two by two.

    A register follows every level of the adder tree as far as ``stages`` go; levels left over
    share the first. The row of the sign of ``b``, if it has one, is subtracted.
    """
    shape = (a * b).shape()
    rows = [Mux(b[i], a, 0) << i for i in range(len(b))]
    if b.shape().signed:
        rows[-1] = -rows[-1]
    levels = (len(rows) - 1).bit_length()
    for level in range(levels):
        sums = []
        for i in range(0, len(rows), 2):
            total = Signal(shape, name=f"{name}_sum{level}_{i // 2}", reset_less=True)
            domain = m.d.comb if level < levels - stages else m.d.sync
            domain += total.eq(rows[i] + (rows[i + 1] if i + 1 < len(rows) else 0))
            sums.append(total)
        rows = sums
    return delayed(m, rows[0], max(0, stages - levels), f"{name}_out")


def _mult18(m, a, b, a_signed, b_signed, pipeline, name, take=None):
    """MULT18X18D, operand, (pipeline) and output registers on one clock (FPGA-TN-02205).

    Operands stand at the upper end of their ports: the zeros below them are configured, where sign
    bits above them would have to be routed. ``take`` lets the second operand's register take a new
    one. Place and route chooses which enable of its block a register has.
    """
    product = Signal(36, name=f"{name}_p")
    wide_a, wide_b = Signal(18, name=f"{name}_a18"), Signal(18, name=f"{name}_b18")
    m.d.comb += [wide_a.eq(a << (18 - len(a))), wide_b.eq(b << (18 - len(b)))]
    ports = {f"i_A{i}": wide_a[i] for i in range(18)} | {f"i_B{i}": wide_b[i] for i in range(18)}
    ports |= {f"o_P{i}": product[i] for i in range(36)}
    if take is not None:
        ports |= {"i_CE1": take}
    for register in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
        runs, waits = pipeline or register != "PIPELINE", take is not None and register == "INPUTB"
        ports |= {f"p_REG_{register}_CLK": "CLK0" if runs else "NONE",
                  f"p_REG_{register}_CE": "CE1" if waits else "CE0",
                  f"p_REG_{register}_RST": "RST0"}
    m.submodules[f"{name}_mult18"] = Instance(
        "MULT18X18D", i_CLK0=ClockSignal(), i_CE0=Const(1), i_RST0=Const(0),
        i_SIGNEDA=Const(a_signed, 1),
        i_SIGNEDB=Const(b_signed, 1), i_SOURCEA=Const(0, 1), i_SOURCEB=Const(0, 1), **ports)
    return product[36 - len(a) - len(b):]


def _mac16(m, a, b, name, *, hold=0, **parameters):
    """SB_MAC16 with its operand and product registers on (Lattice TN1295).

    ``hold`` keeps the registered ``b``.
    """
    out = Signal(32, name=f"{name}_o")
    parameters = {"A_REG": 1, "B_REG": 1, "TOP_8x8_MULT_REG": 1, "BOT_8x8_MULT_REG": 1} | parameters
    m.submodules[f"{name}_mac16"] = Instance(
        "SB_MAC16", **{f"p_{k}": v for k, v in parameters.items()}, i_CLK=ClockSignal(),
        i_CE=Const(1), i_A=_wide(m, a, f"{name}_a"), i_B=_wide(m, b, f"{name}_b"),
        i_C=Const(0, 16), i_D=Const(0, 16),
        i_AHOLD=Const(0), i_BHOLD=_wide(m, hold, f"{name}_hold", 1),
        i_CHOLD=Const(0), i_DHOLD=Const(0), i_IRSTTOP=Const(0), i_IRSTBOT=Const(0),
        i_ORSTTOP=Const(0), i_ORSTBOT=Const(0), i_OLOADTOP=Const(0), i_OLOADBOT=Const(0),
        i_ADDSUBTOP=Const(0), i_ADDSUBBOT=Const(0), i_OHOLDTOP=Const(0), i_OHOLDBOT=Const(0),
        i_CI=Const(0), i_ACCUMCI=Const(0), i_SIGNEXTIN=Const(0), o_O=out)
    return out


def _wide(m, value, name, width=16):
    wide = Signal(width, name=name)
    m.d.comb += wide.eq(value)
    return wide


def _mac16_pairs(m, operands, stages, name, hold=0):
    """Two 8 x 8 products from each SB_MAC16: one in its upper, one in its lower half."""
    products = []
    for i in range(0, len(operands), 2):
        pair = operands[i:i + 2]
        a = Cat(a for a, _ in pair)
        b = Cat(b for _, b in pair)
        out = _mac16(m, a, b, f"{name}{i}", hold=hold, MODE_8x8=1, A_SIGNED=1, B_SIGNED=1,
                     TOPOUTPUT_SELECT=2, BOTOUTPUT_SELECT=2)
        for j in range(len(pair)):
            half = out[16 * j:16 * j + 16].as_signed()
            products.append(delayed(m, half, stages - 2, f"{name}{i}_{j}"))
    return products


def _mac16_wide(m, a, b, a_signed, b_signed, name):
    """Build one 16 x 16 product: operand, partial product and product registers."""
    return _mac16(m, a, b, name, MODE_8x8=0, A_SIGNED=int(a_signed),
                  B_SIGNED=int(b_signed), PIPELINE_16x16_MULT_REG1=1,
                  PIPELINE_16x16_MULT_REG2=1, TOPOUTPUT_SELECT=3, BOTOUTPUT_SELECT=3)
