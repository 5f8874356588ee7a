"""Sums and products on carry chains, where a row of LUTs both gates and adds."""

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, signed

from systolith.hw.family import family

__all__ = ["CARRY_IN", "add", "add_all", "add_and_invert", "add_one_of",
           "multiply_on_carries"]

#: What a LUT of ECP5's CCU2C makes of its inputs a, b, c, d. The sum is its exclusive or with the
#: carry; where it is 0, the next carry is what the lowest four bits make of a and b.
_ADD = 0x66AA                     # a + b, with d high
_GATED_ADD = 0x7888               # a & b, and c & d
_GATED_SUBTRACT = 0x8788          # a & b, and ~c & d
_ADD_ONE_OF = 0x665A              # a + b where d is high, a + c where it is low
_NOTHING = 0x0000
#: The LUT a chain begins with: nothing, and a & b as the carry, with c and d high.
CARRY_IN = 0x0008
#: LUTs of a tile. A chain begins in a tile's first one, and no other chain in what it leaves over.
_TILE = 8

#: iCE40's LUT: the exclusive or of its four inputs.
_XOR = 0x6996


def add(m: Module, platform, x, y, *, bits: int, alike: bool = False, name: str):
    """Return the signed sum of ``x`` and ``y``, cut to ``bits``; not registered.

    ``alike``: neither is ever above zero with the other below.
    """
    if family(platform) == "ecp5":
        x, y = _extended(x, bits), _extended(y, bits)
        return _sum(m, x, y, [(_ADD, *pair, 0, 1) for pair in zip(x, y, strict=True)],
                    (x[0], y[0]), alike, name)
    total = Signal(signed(bits), name=name)
    m.d.comb += total.eq(x + y)
    return total


def add_one_of(m: Module, platform, x, choose, y, z, *, bits: int, name: str):
    """Return the signed sum of ``x`` and ``y``, or where ``choose`` is low ``z``; not registered.

    On ECP5 a LUT that adds a bit chooses it too; synthesis would take a LUT more for every bit.
    """
    if family(platform) == "ecp5":
        x, y, z = (_extended(value, bits) for value in (x, y, z))
        luts = [(_ADD_ONE_OF, *each, choose) for each in zip(x, y, z, strict=True)]
        chosen = [Mux(choose, *pair) for pair in zip(y, z, strict=True)]
        return _sum(m, x, chosen, luts, (x[0], chosen[0]), False, name)
    total = Signal(signed(bits), name=name)
    m.d.comb += total.eq(x + Mux(choose, y, z))
    return total


def add_all(m: Module, platform, terms: list, *, bits: int, name: str):
    """Return the sum of signed terms in at most ``bits``, added two by two; not registered."""
    level = 0
    while len(terms) > 1:
        sums = []
        for i in range(0, len(terms) - 1, 2):
            pair = terms[i:i + 2]
            sums.append(add(m, platform, *pair, bits=min(bits, max(map(len, pair)) + 1),
                            name=f"{name}_{level}_{i // 2}"))
        terms = sums + terms[len(sums) * 2:]
        level += 1
    return terms[0]


def add_and_invert(m: Module, platform, x, y, invert, *, bits: int, name: str):
    """Return ``x + y`` cut to ``bits``, and inverted where ``invert`` is set.

    On iCE40 a cell that adds a bit inverts it too: its LUT has an input besides those of the carry.
    Synthesis does not see that and takes a cell more for every bit.
    """
    total = Signal(signed(bits), name=name)
    if family(platform) != "ice40":
        m.d.comb += total.eq((x + y) ^ invert.replicate(bits))
        return total
    (x, y), carry = (_operand(m, value, bits, name) for value in (x, y)), Const(0, 1)
    for i in range(bits):
        m.submodules[f"{name}_lut{i}"] = Instance(
            "SB_LUT4", p_LUT_INIT=Const(_XOR, 16), i_I0=invert, i_I1=x[i], i_I2=y[i], i_I3=carry,
            o_O=total[i])
        if i < bits - 1:
            after = Signal(name=f"{name}_carry{i}")
            m.submodules[f"{name}_carry{i}"] = Instance(
                "SB_CARRY", i_I0=x[i], i_I1=y[i], i_CI=carry, o_CO=after)
            carry = after
    return total


def multiply_on_carries(m: Module, platform, a, b, stages: int, *, name: str):
    """Return ``a * b``, ``stages`` cycles later: two signed factors, ``b`` of 2, 4, 8 or 16 bits.

    Two bits of ``b`` gate two rows of partial products, which one chain adds; the chains' sums are
    added two by two. The row of the sign of ``b`` is subtracted: ``-a`` is ``~a + 1``. A register
    follows every level as far as ``stages`` go; levels left over share the first.

    On ECP5 8 x 8 bits take 86 LUTs, where ``*`` takes 290.
    """
    levels = (len(b) - 1).bit_length()
    terms = [_pair(m, platform, a, b[j:j + 2], j + 2 == len(b), f"{name}_pair{j}")
             for j in range(0, len(b), 2)]
    shift = 2                                    # of each term against the one before
    for level in range(levels):
        if level:
            # all but the last are of bits that count up: such terms have the sign of a
            terms = [_shifted_sum(m, platform, terms[i], terms[i + 1], shift, i + 2 < len(terms),
                                  f"{name}_sum{level}_{i // 2}") for i in range(0, len(terms), 2)]
            shift *= 2
        if level >= levels - stages:
            terms = [_later(m, term, f"{name}_level{level}_{i}") for i, term in enumerate(terms)]
    product = terms[0]
    for i in range(stages - levels):
        product = _later(m, product, f"{name}_out{i}")
    return product


def _pair(m, platform, a, gates, subtract, name):
    """Return ``a * gates[0] + 2 * a * gates[1]``; ``subtract``: less the second."""
    low, high = gates
    bits = len(a) + 2
    if family(platform) != "ecp5":
        total = Signal(signed(bits), name=name)
        first, second = Mux(low, a, 0), Mux(high, a, 0) << 1
        m.d.comb += total.eq(first - second if subtract else first + second)
        return total
    a = _extended(a, bits)
    kind, one = (_GATED_SUBTRACT, high) if subtract else (_GATED_ADD, 0)
    second = [0, *(high & (~bit if subtract else bit) for bit in a[:-1])]
    luts = [(kind, bit, low, before, high) for before, bit in zip([0, *a], a, strict=False)]
    return _sum(m, [bit & low for bit in a], second, luts, (one, 1), not subtract, name)


def _shifted_sum(m, platform, x, y, shift, alike, name):
    """Return ``x + (y << shift)``, as wide as ``y`` shifted; the lowest bits are those of ``x``."""
    high = add(m, platform, x[shift:].as_signed(), y, bits=len(y), alike=alike, name=name)
    return _named(m, Cat(x[:shift], high), f"{name}_shifted")


def _named(m, bits, name):
    """Return bits as a signed signal: whatever reads a bit would repeat all their expression."""
    named = Signal(signed(len(bits)), name=name)
    m.d.comb += named.eq(bits)
    return named


def _later(m, value, name):
    later = Signal.like(value, name=name, reset_less=True)
    m.d.sync += later.eq(value)
    return later


def _operand(m, value, bits, name):
    """Return a signal of a value, extended by its own sign."""
    operand = Signal(bits, name=f"{name}_operand")
    m.d.comb += operand.eq(value)
    return operand


def _extended(value, bits):
    """Return a signed value's low ``bits``, its sign repeated where it has fewer."""
    return [value[min(i, len(value) - 1)] for i in range(bits)]


def _sum(m, x, y, luts, carry, alike, name):
    """Return ``x + y``, bit by bit, and a carry into bit 1 where both of ``carry`` are high.

    ``luts[i]`` adds bit ``i`` in a chain. A chain of a LUT or two more than fill its tiles leaves
    its ends to LUTs beside it: the first two bits, with the carry out of them, and the last.
    """
    low = x[0] ^ y[0]
    if len(x) <= _TILE or (len(x) - 1) % _TILE > 1:
        return _named(m, Cat(low, _chain(m, *carry, luts[1:], name)), name)
    into = carry[0] & carry[1]
    middle = _chain(m, _majority(x[1], y[1], into), 1, luts[2:-1], name)
    if alike:
        top = x[-1] | y[-1]
    else:
        top = x[-1] ^ y[-1] ^ _majority(x[-2], y[-2], middle[-1] ^ x[-2] ^ y[-2])
    return _named(m, Cat(low, x[1] ^ y[1] ^ into, middle, top), name)


def _majority(x, y, z):
    return (x & y) | (x & z) | (y & z)


def _chain(m, first, second, luts, name):
    """Return the sums of a chain of CCU2C, two LUTs each; a LUT is (function, a, b, c, d).

    ``first & second`` is the carry into it, made by one LUT more. So the chain has no carry input,
    nor output: place and route would spend two LUTs on each, even for a constant.
    """
    count = len(luts)
    luts = [(CARRY_IN, first, second, 1, 1), *luts] + [(_NOTHING, 0, 0, 0, 0)] * ((count + 1) % 2)
    sums = Signal(len(luts), name=f"{name}_chain")
    carries = Signal(len(luts) // 2 - 1, name=f"{name}_carry")
    for i in range(len(luts) // 2):
        ports = {}
        for half, (function, *inputs) in enumerate(luts[2 * i:2 * i + 2]):
            ports |= {f"p_INIT{half}": Const(function, 16), f"p_INJECT1_{half}": "NO",
                      f"o_S{half}": sums[2 * i + half]}
            ports |= {f"i_{pin}{half}": Const(value, 1) if isinstance(value, int) else value
                      for pin, value in zip("ABCD", inputs, strict=True)}
        if i > 0:
            ports["i_CIN"] = carries[i - 1]
        if i < len(carries):
            ports["o_COUT"] = carries[i]
        m.submodules[f"{name}_ccu{i}"] = Instance("CCU2C", **ports)
    return sums[1:1 + count]
