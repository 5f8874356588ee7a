"""The LOAD engine: fetches tiles of weights and puts each behind the one that is running."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor
from systolith.hw.engine_ports import load_members
from systolith.hw.fetch import FetchQueue
from systolith.hw.isa import LOAD_LOOPS, TRAINING_LOAD_LOOPS, Engine, LoadKind
from systolith.hw.latency import claimable_word
from systolith.hw.nest import NestWalker

__all__ = ["LoadEngine"]


class LoadEngine(wiring.Component):
    """Streams whole tiles into the array's shadow registers, a word a cycle.

    A burst starts when a whole tile is in the FIFO and the shadow registers are free, and is never
    interrupted, so that its rows move in step with the vectors (see ``SystolicArray``). Behind a
    transposed tile one of rows waits until the array's last rows have had their columns.

    Members
    -------
    descriptor : :py:`In(descriptor_port(config, Engine.LOAD))`
    completed : :py:`In(ArrayLayout(token_bits, 3))`
    memory : :py:`Out(read_port(config))`
    load, load_index, load_data : Out
        To the array.
    tile_ready : :py:`Out(1)`
        The shadow registers hold or are just receiving a tile that no vector has claimed.
    swap : :py:`In(1)`
        A vector claims it.
    transposed : :py:`Out(1)`
        With ``load``: words are columns. Only with ``config.training``, like the next two.
    operand_ready, operand_take : Out, In
        ``load_data`` is the second operand of an outer product; go on to the next one.
    finished : :py:`Out(1)`
        Pulse: the last word of a nest has been requested.
    idle : :py:`Out(1)`
        No nest runs or is pending.
    """

    def __init__(self, config: Config):
        self.config = config
        members = load_members(config)
        if config.training:
            members |= {"transposed": Out(1), "operand_ready": Out(1), "operand_take": In(1)}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        m.submodules.descriptor = d = Descriptor(c, Engine.LOAD)
        m.submodules.walker = walker = self._walker(m, d)
        m.submodules.queue = queue = FetchQueue(
            c, width=c.lanes * c.operand_bits, depth=c.load_fifo_depth, vector=c.training,
            tag_width=LoadKind.as_shape().width if c.training else 0)
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
            queue.want.eq(walker.valid),
            queue.address.eq(walker.address << (0 if c.training else c.lane_bits)),
        ]

        # bursts
        burst, full = Signal(), Signal()
        enough, last, taken = self._kinds(m, d, queue, burst) if c.training else (
            self._enough(m, queue, burst), self.load_index == c.load_words - 1, burst)
        m.d.comb += [
            burst.eq((self.load_index != 0) | (enough & ~full)),
            self.load.eq(burst), self.load_data.eq(queue.data), queue.take.eq(taken),
            self.tile_ready.eq(full),
        ]
        with m.If(burst):
            m.d.sync += self.load_index.eq(Mux(last, 0, self.load_index + 1))
        with m.If(burst & (self.load_index == claimable_word(c))):
            m.d.sync += full.eq(1)
        with m.Elif(self.swap):
            m.d.sync += full.eq(0)
        return m

    def _enough(self, m, queue, burst):
        """Return whether a whole tile is there (it was, without the word leaving)."""
        enough = Signal()
        m.d.sync += enough.eq(queue.level >= self.config.load_words + burst)
        return enough

    def _kinds(self, m, d, queue, burst):
        """Return whether a whole tile is there, its last word is shown, the shown word leaves."""
        c = self.config
        kind = Signal(LoadKind)
        m.d.comb += [
            queue.tag.eq(d.view("CONTROL").kind), kind.eq(queue.data_tag),
            self.transposed.eq(kind == LoadKind.TRANSPOSED),
            self.operand_ready.eq(queue.valid & (kind == LoadKind.OPERAND)),
        ]
        size = Mux(self.transposed, c.columns, c.rows)
        enough = queue.valid & (kind != LoadKind.OPERAND) & (queue.level >= size)
        last = self.load_index == size - 1
        if c.rows > c.columns:                   # a tile's last rows are still to be told columns
            quiet = Signal(range(c.rows - c.columns + 1))
            with m.If(burst & last & self.transposed):
                m.d.sync += quiet.eq(c.rows - c.columns)
            with m.Elif(quiet != 0):
                m.d.sync += quiet.eq(quiet - 1)
            enough &= self.transposed | (quiet == 0)
        return enough, last, burst | self.operand_take

    def _walker(self, m, d):
        """Return what walks the nests, in words (training: elements), given its descriptor."""
        c = self.config
        levels, bits, shift = ((TRAINING_LOAD_LOOPS, c.address_bits, 0) if c.training else
                               (LOAD_LOOPS, c.word_address_bits, c.lane_bits))
        walker = NestWalker(levels=levels, tracks={"address": bits})
        m.d.comb += walker.base_address.eq(d.view("BASE").address[shift:])
        for i in range(levels):
            m.d.comb += [walker.last[i].eq(d.view(f"LOOP{i}").last),
                         walker.jump_address[i].eq(d.view(f"JUMP{i}").jump >> shift)]
        return walker
