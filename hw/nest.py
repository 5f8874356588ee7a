"""Affine address generation: nested loops in hardware."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["NestWalker"]

_COUNT_BITS = 16


class NestWalker(wiring.Component):
    """Walk ``levels`` nested loops, keeping one affine address per track; one iteration a cycle.

    Every loop counts down from ``last[i]`` and keeps a registered "at its last iteration" flag, so
    that a step is one priority choice, one multiplexer and one addition: the address moves by the
    jump of the outermost loop that steps, whose value already takes the inner loops' travel back.
    The loops run one iteration ahead of the addresses: deciding which loop steps, choosing its jump
    and adding it are a cycle each.

    Parameters
    ----------
    levels : :class:`int`
        Number of loops.
    tracks : :class:`dict` of :class:`str` to :class:`int`
        Addresses by name and their widths in bits; they wrap modulo ``2**width``.

    Members
    -------
    start : :py:`In(1)`
        Load the loops (only while not ``coming``); with the next cycle they are ``coming``, and the
        first iteration is valid in the one after.
    step : :py:`In(1)`
        Go to the next iteration (only while ``valid``).
    coming : :py:`Out(1)`
        There are iterations behind the valid one.
    last : :py:`In(ArrayLayout(16, levels))`
        Iterations minus one of every loop; static from the cycle before the start until the final
        step, like bases and jumps.
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
            "start": In(1), "step": In(1), "coming": Out(1), "valid": Out(1),
            "last": In(data.ArrayLayout(_COUNT_BITS, levels)),
            "from_level": Out(range(levels + 1)), "to_level": Out(range(levels + 1)),
            "at_last": Out(levels),
        }
        for name, width in tracks.items():
            members[f"base_{name}"] = In(width)
            members[f"jump_{name}"] = In(data.ArrayLayout(signed(width), levels))
            members[name] = Out(width)
        super().__init__(members)

    def ends(self, level):
        """Return whether the next step is one of loop ``level`` or further out.

        It is ``to_level >= level``, without the detour by the loop's number.
        """
        return (self.at_last | Cat(i >= level for i in range(self.levels))).all()

    def elaborate(self, platform) -> Module:
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(self.coming & (~self.valid | self.step))
        with m.If(advance):
            m.d.sync += self.valid.eq(1)
        with m.Elif(self.step):
            m.d.sync += self.valid.eq(0)
        from_level, to_level, at_last, first, steps = self._loops(m, advance)

        # what is shown; only ``coming`` and ``valid`` are reset: a start sets all the others
        shown = [Signal.like(s, name=f"shown_{s.name}", reset_less=True)
                 for s in (from_level, to_level, at_last)]
        with m.If(advance):
            m.d.sync += [s.eq(now) for s, now in
                         zip(shown, (from_level, to_level, at_last), strict=True)]
        m.d.comb += [self.from_level.eq(shown[0]), self.to_level.eq(shown[1]),
                     self.at_last.eq(shown[2])]
        for name, width in self.tracks.items():
            address = Signal(width, name=f"at_{name}", reset_less=True)
            jumps, base = getattr(self, f"jump_{name}"), getattr(self, f"base_{name}")
            jump = Signal(signed(width), name=f"chosen_{name}", reset_less=True)
            with m.If(advance):
                m.d.sync += [address.eq(Mux(first, base, address + jump)),
                             jump.eq(reduce(or_, (jumps[i] & steps[i].replicate(width)
                                                  for i in range(self.levels))))]
            m.d.comb += getattr(self, name).eq(address)
        return m

    def _loops(self, m, advance):
        """Count; describe the iteration that comes.

        Returned are its levels, which loops end with it, whether it is the first, and which loop
        steps next, one bit each. ``done[i]`` says that all loops inside loop ``i`` are at their
        last iteration. What it will be is looked up a cycle ahead, in flags instead of counters.
        """
        levels = self.levels
        from_level = Signal(range(levels + 1), name="came_from", reset_less=True)
        to_level = Signal(range(levels + 1), name="goes_to")
        ending, single, one_left = (Signal(levels, name=name, reset_less=True)
                                    for name in ("ending", "single", "one_left"))
        done = Signal(levels + 1, reset_less=True)
        first, steps = Signal(reset_less=True), Signal(levels, reset_less=True)
        singles, doubles = Signal(levels, reset_less=True), Signal(levels, reset_less=True)
        m.d.sync += [singles.eq(Cat(self.last[i] == 0 for i in range(levels))),
                     doubles.eq(Cat(self.last[i] == 1 for i in range(levels)))]
        following = Cat(Mux(done[i], Mux(ending[i], single[i], one_left[i]), ending[i])
                        for i in range(levels))
        # while no iteration is to come, the first of the next nest is set up: a start only says so
        with m.If(~self.coming):
            m.d.sync += [self.coming.eq(self.start), from_level.eq(levels), single.eq(singles),
                         ending.eq(singles), done.eq(_prefixes(singles)),
                         steps.eq(_prefixes(singles)[:levels] & ~singles), first.eq(1)]
        with m.Elif(advance):
            m.d.sync += [self.coming.eq(~done[levels]), from_level.eq(to_level),
                         ending.eq(following), done.eq(_prefixes(following)),
                         steps.eq(_prefixes(following)[:levels] & ~following), first.eq(0)]

        m.d.comb += to_level.eq(levels)
        for i in range(levels):
            left = Signal(_COUNT_BITS, name=f"left{i}", reset_less=True)
            again = ~self.coming | ending[i]
            with m.If(~self.coming | (advance & done[i])):
                m.d.sync += [left.eq(Mux(again, self.last[i], left - 1)),
                             one_left[i].eq(Mux(again, doubles[i], left == 2))]
            with m.If(steps[i]):
                m.d.comb += to_level.eq(i)
        return from_level, to_level, ending, first, steps


def _prefixes(flags):
    """Return for every ``i`` whether all flags below ``i`` are set."""
    return Cat(flags[:i].all() for i in range(len(flags) + 1))
