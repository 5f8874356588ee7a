"""Two rare readers of memory in the place of one."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import read_latency, shared_cycles
from systolith.hw.memory import read_port

__all__ = ["SharedRead"]


class SharedRead(wiring.Component):
    """Let POST and DMA take turns at one port of memory, POST first.

    A request waits for memory in registers, so that what decides who may ask does not add to what
    decides who is served: data come a cycle later than from memory itself. Where there are no such
    registers (see ``shared_cycles``) requests go straight through.

    Members
    -------
    dma, post : :py:`In(read_port(config))`
    memory : :py:`Out(read_port(config))`
    """

    def __init__(self, config: Config, *, vector: bool):
        self.config, self.vector = config, vector
        super().__init__({"dma": In(read_port(config)), "post": In(read_port(config)),
                          "memory": Out(read_port(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        dma, post, memory = self.dma, self.post, self.memory
        if not shared_cycles(self.config):
            self._straight(m)
            return m
        asking, for_dma, free = Signal(), Signal(), Signal()
        address = Signal.like(memory.address, reset_less=True)
        need = Signal.like(memory.need, reset_less=True)
        m.d.comb += [
            free.eq(~asking | memory.grant), post.grant.eq(post.valid & free),
            dma.grant.eq(dma.valid & ~post.valid & free),
            memory.valid.eq(asking), memory.address.eq(address), memory.need.eq(need),
            dma.data.eq(memory.data), post.data.eq(memory.data),
        ]
        with m.If(free):
            m.d.sync += [
                asking.eq(dma.valid | post.valid), for_dma.eq(~post.valid), 
                         address.eq(Mux(post.valid, post.address, dma.address)),
                         need.eq(Mux(post.valid, post.need, dma.need))]
        self._answers(m, for_dma)
        return m

    def _straight(self, m):
        dma, post, memory = self.dma, self.post, self.memory
        m.d.comb += [
            memory.valid.eq(post.valid | dma.valid),
            memory.address.eq(Mux(post.valid, post.address, dma.address)),
            memory.need.eq(Mux(post.valid, post.need, dma.need)),
            post.grant.eq(memory.grant & post.valid), dma.grant.eq(memory.grant & ~post.valid),
            dma.data.eq(memory.data), post.data.eq(memory.data),
        ]
        self._answers(m, ~post.valid)

    def _answers(self, m, for_dma):
        """Tell whose the data are that memory delivers."""
        owners = Signal(read_latency(self.config, vector=self.vector), reset_less=True)
        valid = self.memory.data_valid
        m.d.sync += owners.eq(Cat(for_dma, owners))
        m.d.comb += [self.dma.data_valid.eq(valid & owners[-1]),
                     self.post.data_valid.eq(valid & ~owners[-1])]
