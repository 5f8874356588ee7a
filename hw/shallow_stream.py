"""The STREAM engine of shallow pipelines: vectors go from memory into the array."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.accumulator import entry_layout
from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor, descriptor_port
from systolith.hw.isa import STREAM_LOOPS, Engine
from systolith.hw.memory import banks_needed, read_port
from systolith.hw.memory_nest import MemoryNest

__all__ = ["ShallowStream"]


class ShallowStream(wiring.Component):
    """``StreamEngine`` without a FIFO: a vector is read when it may enter, a cycle later.

    A read waits until (a) it starts no pass or the next tile is ready, (b) it starts no group or
    its accumulator store is free, and (c) the vector before it adds elsewhere.

    Members
    -------
    As ``StreamEngine``. ``swap`` comes with the grant, ``vector_swap`` with the vector.
    """

    def __init__(self, config: Config):
        self.config = c = config
        super().__init__({
            "descriptor": In(descriptor_port(c, Engine.STREAM)),
            "completed": In(data.ArrayLayout(c.token_bits, len(Engine))),
            "memory": Out(read_port(c)), "tile_ready": In(1), "swap": Out(1), "release": In(2),
            "vector": Out(data.ArrayLayout(signed(c.operand_bits), c.rows)),
            "vector_swap": Out(1), "entry": Out(entry_layout(c)), "finished": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c, memory = self.config, self.memory
        shift = c.alignment - 1                  # low bits that are 0 in every address
        m.submodules.descriptor = d = Descriptor(c, Engine.STREAM)
        m.submodules.walker = walker = MemoryNest(
            c, Engine.STREAM, base="BASE", jump="JUMP", levels=STREAM_LOOPS,
            width=c.address_bits - shift, shift=shift)
        d.attach(m, walker)
        connect(m, flipped(self.descriptor), d.port)
        entry = Signal.like(self.entry, reset_less=True)
        walking, swap, first, allowed = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            walking.eq(d.start | walker.valid), d.idle.eq(~walking), d.take.eq(d.ready & ~walking),
            d.completed.eq(self.completed), walker.start.eq(d.start),
            walker.step.eq(memory.grant),
            self.finished.eq(memory.grant & walker.at_last.all()),
            self.idle.eq(~walking & ~d.pending & ~memory.data_valid),
            memory.valid.eq(walker.valid & allowed), memory.address.eq(walker.address << shift),
            memory.need.eq(banks_needed(c, memory.address, vector=True)),
            self.swap.eq(memory.grant & swap), self.entry.eq(entry),
            self.entry.valid.eq(memory.data_valid),
            self.entry.end.eq(memory.data_valid & entry.end),
            self.vector.eq(memory.data.as_value()),
        ]
        m.d.sync += self.vector_swap.eq(swap)
        self._enter(m, d, walker, entry, swap, first, allowed)
        return m

    def _enter(self, m, d, walker, entry, swap, first, allowed):
        """Say what a vector is, and whether it may enter."""
        control, grant = d.view("CONTROL"), self.memory.grant
        store, group_open, first_pass = Signal(), Signal(), Signal()
        owned, clear, last, clash = Signal(2), Signal(), Signal(), Signal()
        # loops inside the one that steps are at their first iteration then; known a cycle ahead,
        # because a grant waits for it
        with m.If(d.start):
            m.d.sync += [swap.eq(1), first.eq(1)]
        with m.Elif(grant):
            m.d.sync += [swap.eq(walker.to_level >= control.pass_level),
                         first.eq(walker.to_level >= control.group_level)]
        m.d.comb += [
            # loops inside to_level are at their last iteration
            clear.eq((first_pass & ~swap | first) & ~control.keep),
            last.eq(walker.ends(control.group_level) & ~(control.hold & walker.at_last.all())),
            clash.eq(self.memory.data_valid & walker.still & ~clear),
            allowed.eq((~swap | self.tile_ready) & ~clash
                       & (~first | group_open | ~owned.bit_select(store, 1))),
        ]
        m.d.sync += [entry.address.eq(walker.acc), entry.clear.eq(clear), entry.store.eq(store),
                     entry.end.eq(last)]
        with m.If(grant & swap):
            m.d.sync += first_pass.eq(first)
        with m.If(grant & last):
            m.d.sync += [group_open.eq(0), store.eq(~store)]
        with m.Elif(grant & first):
            m.d.sync += group_open.eq(1)
        for s in range(2):
            with m.If(grant & first & (store == s)):
                m.d.sync += owned[s].eq(1)
            with m.Elif(self.release[s]):
                m.d.sync += owned[s].eq(0)
