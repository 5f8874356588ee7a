"""The LOAD engine: fetches tiles of weights and puts each behind the one that is running."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor, descriptor_port
from systolith.hw.fetch import FetchQueue
from systolith.hw.isa import LOAD_LOOPS, Engine
from systolith.hw.latency import claimable_word
from systolith.hw.memory import read_port
from systolith.hw.memory_nest import MemoryNest
from systolith.hw.nest import NestWalker

__all__ = ["LoadEngine"]


class LoadEngine(wiring.Component):
    """Streams whole tiles into the array's shadow registers, ``load_words`` cycles each.

    A burst starts when a whole tile is in the FIFO and the shadow registers are free, and is never
    interrupted, so that its rows move in step with the vectors (see ``SystolicArray``).

    Members
    -------
    descriptor : :py:`In(descriptor_port(Engine.LOAD))`
    completed : :py:`In(ArrayLayout(token_bits, 3))`
    memory : :py:`Out(read_port(config))`
    load, load_index, load_data : Out
        To the array.
    tile_ready : :py:`Out(1)`
        The shadow registers hold (or, if deep, are just receiving) a tile that no vector has
        claimed.
    swap : :py:`In(1)`
        A vector claims it.
    finished : :py:`Out(1)`
        Pulse: the last word of a nest has been requested.
    idle : :py:`Out(1)`
        No nest runs or is pending.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "descriptor": In(descriptor_port(Engine.LOAD)),
            "completed": In(data.ArrayLayout(config.token_bits, len(Engine))),
            "memory": Out(read_port(config)),
            "load": Out(1), "load_index": Out(range(config.load_words)),
            "load_data": Out(data.ArrayLayout(config.operand_bits, config.lanes)),
            "tile_ready": Out(1), "swap": In(1), "finished": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        m.submodules.descriptor = d = Descriptor(c, Engine.LOAD)
        m.submodules.walker = walker = self._walker(m, d)
        m.submodules.queue = queue = FetchQueue(c, width=c.lanes * c.operand_bits, tag_width=0,
                                                depth=c.load_fifo_depth, vector=False)
        connect(m, flipped(self.descriptor), d.port)
        connect(m, queue.memory, flipped(self.memory))

        # nests: take, start, walk
        coming, walking = Signal(), Signal()
        m.d.comb += [
            coming.eq(d.taken | d.start | walker.coming), walking.eq(coming | walker.valid),
            d.idle.eq(~walking), d.take.eq(d.ready & ~coming & (~walker.valid | queue.accepted)),
            d.completed.eq(self.completed), self.idle.eq(~walking & ~d.pending),
            walker.start.eq(d.start), walker.step.eq(queue.accepted),
            self.finished.eq(walker.valid & queue.accepted & walker.at_last.all()),
            queue.want.eq(walker.valid), queue.address.eq(walker.address << c.lane_bits),
        ]

        # bursts
        burst, full = Signal(), Signal()
        enough = Signal()                        # a tile was there, without the word leaving
        m.d.sync += enough.eq(queue.level >= c.load_words + burst)
        m.d.comb += [
            burst.eq((self.load_index != 0) | (enough & ~full)),
            self.load.eq(burst), self.load_data.eq(queue.data), queue.take.eq(burst),
            self.tile_ready.eq(full),
        ]
        with m.If(burst):
            m.d.sync += self.load_index.eq(Mux(self.load_index == c.load_words - 1, 0,
                                               self.load_index + 1))
        with m.If(burst & (self.load_index == claimable_word(c))):
            m.d.sync += full.eq(1)
        with m.Elif(self.swap):
            m.d.sync += full.eq(0)
        return m

    def _walker(self, m, d):
        """Return what walks the nests, in words, connected to the descriptor."""
        c = self.config
        if c.shallow:
            walker = MemoryNest(c, Engine.LOAD, base="BASE", jump="JUMP", levels=LOAD_LOOPS,
                                width=c.word_address_bits, shift=c.lane_bits, accumulates=False)
            d.attach(m, walker)
            return walker
        walker = NestWalker(levels=LOAD_LOOPS, tracks={"address": c.word_address_bits})
        m.d.comb += walker.base_address.eq(d.view("BASE").address[c.lane_bits:])
        for i in range(LOAD_LOOPS):
            m.d.comb += [walker.last[i].eq(d.view(f"LOOP{i}").last),
                         walker.jump_address[i].eq(d.view(f"JUMP{i}").jump >> c.lane_bits)]
        return walker
