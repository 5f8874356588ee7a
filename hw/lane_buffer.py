"""The data of a FIFO: pointers for each group of lanes, no enable over all of them."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.replica import replica

__all__ = ["LaneBuffer"]


class LaneBuffer(wiring.Component):
    """Keeps words in order beside a FIFO that does the bookkeeping.

    Lanes are far from each other. A FIFO with an output register would enable all of its bits in
    the cycle that decides on taking a word; here that cycle moves a few pointers, and distributed
    memory shows what they point to.

    Parameters
    ----------
    width, depth : :class:`int`
        Bits of a word, and words: a power of two, never exceeded by those written and not taken.
    groups : :class:`int`
        Parts with pointers of their own; divides ``width``.

    Members
    -------
    coming, written : :py:`In(1)`, :py:`In(width)`
        In the cycle after one with ``coming`` append the word that is ``written`` then; it can be
        shown from the next cycle on.
    take : :py:`In(1)`
        Go on to the next word.
    word : :py:`Out(width)`
        The oldest, if there is one.
    """

    def __init__(self, *, width: int, depth: int, groups: int):
        self.depth, self.groups = depth, groups
        super().__init__({"coming": In(1), "written": In(width), "take": In(1), "word": Out(width)})

    def elaborate(self, platform) -> Module:
        m = Module()
        parts = []
        for g in range(self.groups):
            part = self.written.word_select(g, len(self.written) // self.groups)
            m.submodules[f"part{g}"] = memory = Memory(shape=len(part), depth=self.depth, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            to, of = (replica(range(self.depth), name=f"{name}{g}", reset_less=False)
                      for name in ("to", "of"))
            writes = replica(1, name=f"writes{g}", reset_less=False)
            m.d.sync += writes.eq(self.coming)
            m.d.comb += [write.en.eq(writes), write.addr.eq(to), write.data.eq(part),
                         read.addr.eq(of)]
            with m.If(writes):
                m.d.sync += to.eq(to + 1)
            with m.If(self.take):
                m.d.sync += of.eq(of + 1)
            parts.append(read.data)
        m.d.comb += self.word.eq(Cat(parts))
        return m
