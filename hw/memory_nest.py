"""Affine address generation from loops in memory: few flip-flops, still an iteration a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import ENGINE_REGISTERS, Engine, Loop, PostControl

__all__ = ["MemoryNest"]

_COUNT_BITS = 16
#: Row of a loop's remaining iterations, behind the rows of the iterations it starts with.
_LEFT = 8


class MemoryNest(wiring.Component):
    """``NestWalker`` for one address and an accumulator address, with the registers it needs.

    Block RAM keeps what is written to BASE, CONTROL, LOOPi and JUMPi, a row for each loop and one
    for the bases. A step changes one loop's counter; the loops inside it start anew, for which a
    flag each is enough (``fresh``: the counter is what it starts with). The loop that steps
    next follows from the flags alone, so its row is read a cycle ahead.

    Parameters
    ----------
    engine : :class:`Engine`
        Whose registers.
    base, jump : :class:`str`
        Names of the address' registers, the latter without its number.
    levels, width, shift : :class:`int`
        Number of loops; bits of the address; low bits of its registers that are left out.
    accumulates : :class:`bool`
        There is an accumulator address: CONTROL's ``acc_base`` and the loops' ``acc_jump``.

    Members
    -------
    set, index, word : In
        Write a register; never while walking.
    prepare, start : :py:`In(1)`
        Begin: in one cycle, and in the next. The first iteration is valid in the cycle after.
    step : :py:`In(1)`
        Go to the next iteration (only while ``valid``).
    address, acc : Out
        Of this iteration.
    still : Out
        The iteration before it had the same ``acc``.
    coming, valid, from_level, to_level, at_last : Out
        As ``NestWalker``.
    """

    def __init__(self, config: Config, engine: Engine, *, base: str, jump: str, levels: int,
                 width: int, shift: int = 0, accumulates: bool = True):
        self.names = [register.name for register in ENGINE_REGISTERS[engine]]
        self.base, self.jump, self.levels = base, jump, levels
        self.width, self.shift = width, shift
        self.acc_bits = config.acc_address_bits if accumulates else 0
        super().__init__({
            "set": In(1), "index": In(range(len(self.names))), "word": In(32),
            "prepare": In(1), "start": In(1), "step": In(1),
            "coming": Out(1), "valid": Out(1),
            "from_level": Out(range(levels + 1)), "to_level": Out(range(levels + 1)),
            "at_last": Out(levels), "address": Out(width), "acc": Out(self.acc_bits),
            "still": Out(1),
        })

    def ends(self, level):
        """Return whether the next step is one of loop ``level`` or further out."""
        return self.to_level >= level

    def elaborate(self, platform) -> Module:
        m = Module()
        row, kinds = self._decode(m)
        stepping, reading, counting = Signal(), Signal(), Signal()
        next_level, next_fresh = Signal.like(self.to_level), Signal()
        m.d.comb += [
            stepping.eq(self.step & self.valid), counting.eq(self.start | stepping),
            reading.eq(self.prepare | counting),
            self.coming.eq(self.valid & (self.to_level != self.levels)),
        ]
        after, jumps_nowhere = self._jumps(m, row, kinds, reading, next_level)
        with m.If(self.prepare):
            m.d.sync += [self.address.eq(0), self.acc.eq(0)]
        with m.Elif(counting):
            m.d.sync += [Cat(self.address, self.acc).eq(after), self.still.eq(jumps_nowhere)]
        ends = self._count(m, row, kinds, stepping, reading, next_level, next_fresh)
        self._flags(m, kinds, stepping, counting, ends, next_level, next_fresh)

        with m.If(counting):
            m.d.sync += [self.to_level.eq(next_level),
                         self.from_level.eq(Mux(self.start, self.levels, self.to_level)),
                         self.valid.eq(self.start | (self.to_level != self.levels))]
        return m

    def _decode(self, m):
        """Return the row of the register being written, and which kind it is."""
        row = Signal(range(self.levels + 1))
        kinds = {name: Signal(name=f"set_{name}") for name in ("loop", "jump", "base", "control")}
        with m.Switch(self.index):
            for index, name in enumerate(self.names):
                number = int(name[-1]) if name[-1].isdigit() else self.levels
                kind = {"LOOP": "loop", self.jump: "jump", self.base: "base",
                        "CONTROL": "control"}.get(name.rstrip("0123456789"))
                if kind:
                    with m.Case(index):
                        m.d.comb += [row.eq(number), kinds[kind].eq(self.set)]
        return row, kinds

    def _jumps(self, m, row, kinds, reading, next_level):
        """Return both addresses after a step, or after ``start``, and that ``acc`` stays."""
        width, acc = self.width, self.acc_bits
        m.submodules.jumps = memory = Memory(shape=width + acc, depth=_LEFT, init=[])
        w, r = memory.write_port(granularity=1), memory.read_port()
        loop = Loop(self.word)
        # STREAM's field is in the same place
        acc_base = PostControl(self.word).acc_base
        m.d.comb += [
            w.addr.eq(row), r.en.eq(reading),
            w.data.eq(Cat(self.word[self.shift:][:width],
                          Mux(kinds["control"], acc_base, loop.acc_jump)[:acc])),
            w.en.eq(Cat((kinds["jump"] | kinds["base"]).replicate(width),
                        (kinds["loop"] | kinds["control"]).replicate(acc))),
            r.addr.eq(Mux(self.prepare, self.levels, next_level)),
        ]
        after = Cat((self.address + r.data[:width])[:width], (self.acc + r.data[width:])[:acc])
        return after, r.data[width:] == 0

    def _count(self, m, row, kinds, stepping, reading, next_level, next_fresh):
        """Count the loop that steps; return whether it comes to its last iteration."""
        m.submodules.counts = memory = Memory(shape=_COUNT_BITS, depth=2 * _LEFT, init=[])
        w, r = memory.write_port(), memory.read_port()
        again = Signal(reset_less=True)          # the same loop steps twice
        left, less = Signal(_COUNT_BITS), Signal(_COUNT_BITS)
        kept = Signal(_COUNT_BITS, reset_less=True)
        m.d.comb += [
            w.en.eq(kinds["loop"] | stepping),
            w.addr.eq(Mux(self.valid, _LEFT | self.to_level, row)),
            w.data.eq(Mux(self.valid, less, Loop(self.word).last)),
            r.en.eq(reading), r.addr.eq(next_level | Mux(next_fresh, 0, _LEFT)),
            left.eq(Mux(again, kept, r.data)), less.eq(left - 1),
        ]
        with m.If(reading):
            m.d.sync += again.eq(stepping & (next_level == self.to_level))
        with m.If(stepping):
            m.d.sync += kept.eq(less)
        return left == 1

    def _flags(self, m, kinds, stepping, counting, ends, next_level, next_fresh):
        """Keep what is known of every loop, and say which loop steps after this step."""
        single = Signal(self.levels, reset_less=True)
        fresh, at_last = Signal(self.levels, reset_less=True), Signal.like(single)
        none = Loop(self.word).last == 0
        m.d.comb += self.at_last.eq(at_last)
        # both answers are there before it is known whether the loop that steps ends
        answers = [(Signal.like(next_level, name=f"level{end}"), Signal(name=f"fresh{end}"))
                   for end in range(2)]
        for level, _ in answers:
            m.d.comb += level.eq(self.levels)
        for i in reversed(range(self.levels)):
            with m.If(kinds["loop"] & (self.index == self.names.index(f"LOOP{i}"))):
                m.d.sync += single[i].eq(none)
            anew, here = self.start | (self.to_level > i), self.to_level == i
            steps = ~self.start & here
            is_fresh = anew | (fresh[i] & ~steps)
            next_at_last = [Mux(anew, single[i], Mux(here, end, at_last[i])) for end in range(2)]
            with m.If(counting):
                m.d.sync += [fresh[i].eq(is_fresh), at_last[i].eq(Mux(ends, *next_at_last[::-1]))]
            for (level, loop_fresh), last in zip(answers, next_at_last, strict=True):
                with m.If(~last):
                    m.d.comb += [level.eq(i), loop_fresh.eq(is_fresh)]
        m.d.comb += Cat(next_level, next_fresh).eq(
            Mux(ends, *(Cat(level, loop_fresh) for level, loop_fresh in reversed(answers))))
