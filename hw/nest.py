"""Affine address generation: nested loops in hardware."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["NestWalker"]

_COUNT_BITS = 16


class NestWalker(wiring.Component):
    """Walk ``levels`` nested loops, keeping one affine address per track; one iteration a cycle.

    Every loop counts down from ``last[i]`` and keeps a registered "at its last iteration" flag, so
    that a step is one priority choice, one multiplexer and one addition: the address moves by the
    jump of the outermost loop that steps, whose value already takes the inner loops' travel back.

    Parameters
    ----------
    levels : :class:`int`
        Number of loops.
    tracks : :class:`dict` of :class:`str` to :class:`int`
        Addresses by name and their widths in bits; they wrap modulo ``2**width``.

    Members
    -------
    start : :py:`In(1)`
        Load the bases; the first iteration is valid in the next cycle.
    step : :py:`In(1)`
        Go to the next iteration (only while ``valid``).
    last : :py:`In(ArrayLayout(16, levels))`
        Iterations minus one of every loop; static while walking, like bases and jumps.
    base_<track> : :py:`In(width)`
        First address.
    jump_<track> : :py:`In(ArrayLayout(signed(width), levels))`
        What a step of each loop adds.
    valid : :py:`Out(1)`
        The outputs describe an iteration.
    <track> : :py:`Out(width)`
        The address of this iteration.
    from_level, to_level : :py:`Out(range(levels + 1))`
        The loop whose step led here (``levels`` at the first iteration), and the loop that the
        next step advances (``levels`` at the final iteration). All loops inside ``from_level`` are
        at their first, all inside ``to_level`` at their last iteration.
    at_last : :py:`Out(levels)`
        One bit a loop: it is at its last iteration.
    """

    def __init__(self, *, levels: int, tracks: dict[str, int]):
        self.levels = levels
        self.tracks = dict(tracks)
        members = {
            "start": In(1), "step": In(1), "valid": Out(1),
            "last": In(data.ArrayLayout(_COUNT_BITS, levels)),
            "from_level": Out(range(levels + 1)), "to_level": Out(range(levels + 1)),
            "at_last": Out(levels),
        }
        for name, width in tracks.items():
            members[f"base_{name}"] = In(width)
            members[f"jump_{name}"] = In(data.ArrayLayout(signed(width), levels))
            members[name] = Out(width)
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        # only ``valid`` is reset: a start sets all the others
        left = [Signal(_COUNT_BITS, name=f"left{i}", reset_less=True) for i in range(self.levels)]
        at_last = Signal.like(self.at_last, reset_less=True)
        from_level = Signal.like(self.from_level, reset_less=True)
        m.d.comb += [self.at_last.eq(at_last), self.from_level.eq(from_level)]

        # the innermost loop that is not at its last iteration steps
        m.d.comb += self.to_level.eq(self.levels)
        for i in reversed(range(self.levels)):
            with m.If(~at_last[i]):
                m.d.comb += self.to_level.eq(i)

        stepping = Signal()
        m.d.comb += stepping.eq(self.step & self.valid)
        with m.If(self.start):
            m.d.sync += [self.valid.eq(1), from_level.eq(self.levels)]
        with m.Elif(stepping):
            m.d.sync += [self.valid.eq(self.to_level != self.levels),
                         from_level.eq(self.to_level)]

        for i in range(self.levels):
            with m.If(self.start | (stepping & (self.to_level > i))):
                m.d.sync += [left[i].eq(self.last[i]), at_last[i].eq(self.last[i] == 0)]
            with m.Elif(stepping & (self.to_level == i)):
                m.d.sync += [left[i].eq(left[i] - 1), at_last[i].eq(left[i] == 1)]

        for name, width in self.tracks.items():
            address = Signal(width, name=f"at_{name}", reset_less=True)
            jumps = getattr(self, f"jump_{name}")
            m.d.comb += getattr(self, name).eq(address)
            jump = Signal(signed(width), name=f"chosen_{name}")
            with m.Switch(self.to_level):
                for i in range(self.levels):
                    with m.Case(i):
                        m.d.comb += jump.eq(jumps[i])
            with m.If(self.start | stepping):
                m.d.sync += address.eq(Mux(self.start, getattr(self, f"base_{name}"),
                                           address + jump))
        return m
