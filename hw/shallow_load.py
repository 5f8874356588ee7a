"""The LOAD engine of shallow pipelines: weights go from memory to the shadow registers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor
from systolith.hw.engine_ports import load_members
from systolith.hw.isa import LOAD_LOOPS, Engine
from systolith.hw.memory import banks_needed
from systolith.hw.memory_nest import MemoryNest

__all__ = ["ShallowLoad"]


class ShallowLoad(wiring.Component):
    """``LoadEngine`` without a FIFO: it reads a tile when the shadow registers are free.

    Members
    -------
    As ``LoadEngine``. ``tile_ready``: the last word of a tile has been granted.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(load_members(config))

    def elaborate(self, platform) -> Module:
        m = Module()
        c, memory = self.config, self.memory
        m.submodules.descriptor = d = Descriptor(c, Engine.LOAD)
        m.submodules.walker = walker = MemoryNest(
            c, Engine.LOAD, base="BASE", jump="JUMP", levels=LOAD_LOOPS,
            width=c.word_address_bits, shift=c.lane_bits, accumulates=False)
        d.attach(m, walker)
        connect(m, flipped(self.descriptor), d.port)
        walking = Signal()
        asked = Signal.like(self.load_index)
        m.d.comb += [
            walking.eq(d.start | walker.valid), d.idle.eq(~walking), d.take.eq(d.ready & ~walking),
            d.completed.eq(self.completed), self.idle.eq(~walking & ~d.pending),
            walker.start.eq(d.start), walker.step.eq(memory.grant),
            self.finished.eq(memory.grant & walker.at_last.all()),
            memory.valid.eq(walker.valid & ~self.tile_ready),
            memory.address.eq(walker.address << c.lane_bits),
            memory.need.eq(banks_needed(c, memory.address, vector=False)),
            self.load.eq(memory.data_valid), self.load_data.eq(memory.data),
        ]
        m.d.sync += self.load_index.eq(asked)
        with m.If(memory.grant):
            m.d.sync += asked.eq(Mux(asked == c.load_words - 1, 0, asked + 1))
        with m.If(memory.grant & (asked == c.load_words - 1)):
            m.d.sync += self.tile_ready.eq(1)
        with m.Elif(self.swap):
            m.d.sync += self.tile_ready.eq(0)
        return m
