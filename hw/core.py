"""The compute core: memory, engines, array, accumulators and sequencer, wired together."""

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect

from systolith.hw.accumulator import AccumulatorStores
from systolith.hw.array import SystolicArray
from systolith.hw.cluster_array import ClusterArray
from systolith.hw.config import Config
from systolith.hw.host_port import host_port
from systolith.hw.load import LoadEngine
from systolith.hw.memory import UnifiedMemory, banks_needed
from systolith.hw.post import PostEngine
from systolith.hw.sequencer import Sequencer
from systolith.hw.shallow_array import ShallowArray
from systolith.hw.shallow_load import ShallowLoad
from systolith.hw.shallow_memory import ShallowMemory
from systolith.hw.shallow_post import ShallowPost
from systolith.hw.shallow_stores import ShallowStores
from systolith.hw.shallow_stream import ShallowStream
from systolith.hw.shared_read import SharedRead
from systolith.hw.stream import StreamEngine
from systolith.hw.training_post import TrainingPost

__all__ = ["Core", "readers"]


#: Longer than any pipeline: array and accumulators, or the lanes with a residual.
_RESET_CYCLES = 127


def readers(config: Config) -> dict[str, bool]:
    """Return memory's readers in falling priority, and which need vectors from any address.

    STREAM comes last because it can take every cycle; DMA and POST, which share a port, are rare
    and first.
    """
    return {"shared": config.residual, "load": config.training, "stream": True}


class Core(wiring.Component):
    """Everything but the host link.

    Members
    -------
    host : :py:`In(host_port(config))`
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({"host": In(host_port(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        memory, array, stores = self._datapath()
        shared = SharedRead(c, vector=c.residual)
        if c.shallow:
            load, stream, post = ShallowLoad(c), ShallowStream(c), ShallowPost(c)
        else:
            load, stream = LoadEngine(c), StreamEngine(c)
            post = TrainingPost(c) if c.training else PostEngine(c)
        sequencer = Sequencer(c)
        # pipelines without control need no reset: they run empty while the engines are held. Each
        # engine has its own reset, a cycle after the other's: together they would reach too far
        resets = Signal(4)
        m.submodules.memory = memory
        m.submodules.shared = shared
        m.submodules.array = array
        m.submodules.stores = stores
        m.submodules.lanes = post.lanes
        m.submodules.load = ResetInserter(resets[0])(load)
        m.submodules.stream = ResetInserter(resets[1])(stream)
        m.submodules.post = ResetInserter(resets[2])(post)
        m.submodules.sequencer = ResetInserter(resets[3])(sequencer)

        self._reset(m, resets, sequencer)
        self._host(m, memory, shared, sequencer, stream)
        self._control(m, sequencer, {"load": load, "stream": stream, "post": post})
        connect(m, load.memory, memory.load)
        connect(m, stream.memory, memory.stream)
        connect(m, post.memory, shared.post)
        connect(m, shared.memory, memory.shared)
        connect(m, post.write, memory.vector_write)

        # weights and vectors to the array, sums to the stores, stores to POST; where it is far, a
        # cycle later
        domain = m.d.comb if c.shallow else m.d.sync
        # word 0 of a tile announces the others to a deep array
        each = c.shallow or c.training
        domain += [array.load.eq(load.load & (True if each else load.load_index == 0)),
                   array.load_index.eq(load.load_index if each else 0),
                   array.load_data.as_value().eq(load.load_data.as_value()),
                   stream.release.eq(post.release)]
        m.d.comb += [
            load.swap.eq(stream.swap), stream.tile_ready.eq(load.tile_ready),
            array.vector.eq(stream.vector), array.valid.eq(stream.entry.valid),
            array.swap.eq(stream.vector_swap), stores.entry.eq(stream.entry),
            stores.psums.eq(array.psums), post.filled.eq(stores.filled),
            stores.drain_store.eq(post.drain_store),
            stores.drain_address.eq(post.drain_address), post.drained.eq(stores.drained),
        ]
        if c.window:
            m.d.comb += [array.taps.eq(stream.taps), array.use_taps.eq(stream.use_taps)]
        if c.training:
            self._outer_products(m, load, stream, array)
        return m

    def _outer_products(self, m, load, stream, array):
        """Bring second operands from LOAD to STREAM, and what it makes of them to the array."""
        m.d.comb += [
            stream.operand_ready.eq(load.operand_ready), load.operand_take.eq(stream.operand_take),
            *(stream.operand[n].eq(load.load_data[n]) for n in range(self.config.columns)),
            array.valid.eq(stream.enters), array.gather.eq(stream.gather),
            array.drain.eq(stream.drain), array.stream.eq(stream.second),
        ]
        m.d.sync += array.transposed.eq(load.transposed)

    def _datapath(self):
        """Return memory, array and accumulator stores of the configuration.s pipelining.

        Array and stores see a vector one cycle after it is let in (shallow: at once).
        """
        c = self.config
        if c.shallow:
            array = ShallowArray(c)
            return (ShallowMemory(c, readers(c)), array,
                    ShallowStores(c, latency=array.latency))
        array = ClusterArray(c) if c.clustered else SystolicArray(c)
        return (UnifiedMemory(c, readers(c)), array,
                AccumulatorStores(c, latency=array.latency))

    def _reset(self, m, resets, sequencer):
        """Hold the engines in reset until everything on its way has arrived."""
        left = Signal(range(_RESET_CYCLES + 1))
        with m.If(self.host.reset):
            m.d.sync += left.eq(_RESET_CYCLES)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += resets.eq(Cat(self.host.reset | (left != 0), resets))
        m.d.comb += self.host.busy.eq(sequencer.busy | resets.any() | (left != 0))

    def _host(self, m, memory, shared, sequencer, stream):
        host = self.host
        m.d.comb += [
            memory.word_valid.eq(host.write.valid), host.write.ready.eq(memory.word_ready),
            memory.word_address.eq(host.write.payload.address),
            memory.word_data.eq(host.write.payload.data),
            memory.word_mask.eq(host.write.payload.mask),
            shared.dma.valid.eq(host.read.valid), host.read.ready.eq(shared.dma.grant),
            shared.dma.address.eq(host.read.payload << self.config.lane_bits),
            shared.dma.need.eq(banks_needed(self.config, shared.dma.address, vector=False)),
            sequencer.start.eq(host.start), sequencer.parity.eq(host.parity),
            sequencer.input_delta.eq(host.input_delta),
            sequencer.output_delta.eq(host.output_delta),
            host.done.eq(sequencer.done), host.bad.eq(sequencer.bad), host.pc.eq(sequencer.pc),
            host.entered.eq(stream.entry.valid),
        ]
        # what DMA reads and writes has time, and far to go
        domain = m.d.comb if self.config.shallow else m.d.sync
        domain += [
            host.read_data.valid.eq(shared.dma.data_valid),
            host.read_data.payload.eq(shared.dma.data.as_value()),
            sequencer.program.eq(host.program.payload),
            sequencer.program_valid.eq(host.program.valid),
        ]

    def _control(self, m, sequencer, engines):
        for name, engine in engines.items():
            connect(m, getattr(sequencer, name), engine.descriptor)
            m.d.comb += engine.completed.eq(sequencer.completed)
        m.d.comb += [
            sequencer.finished.eq(Cat(engine.finished for engine in engines.values())),
            sequencer.idle.eq(Cat(engine.idle for engine in engines.values())),
        ]
