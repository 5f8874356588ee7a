"""Two rare readers of memory in the place of one."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import read_latency, shared_cycles
from systolith.hw.memory import banks_needed, read_port

__all__ = ["SharedRead"]


class SharedRead(wiring.Component):
    """Let POST and DMA take turns at one port of memory, POST first.

    A request goes through registers, so that what decides who may ask does not add to what decides
    who is served: data come ``shared_cycles`` later than from memory itself. Memory never refuses
    this port, the first in priority. Where it may (see ``shared_cycles``) requests go straight
    through.

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
        # DMA's request waits until POST has none
        waiting, waiting_address = Signal(), Signal.like(dma.address, reset_less=True)
        m.d.comb += [dma.grant.eq(dma.valid & ~waiting), post.grant.eq(post.valid)]
        with m.If(~waiting):
            m.d.sync += [waiting.eq(dma.valid), waiting_address.eq(dma.address)]
        with m.Elif(~post.valid):
            m.d.sync += waiting.eq(0)

        asked, address = Signal(), Signal.like(memory.address, reset_less=True)
        for_dma, late_for_dma = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            asked.eq(post.valid | waiting), for_dma.eq(~post.valid),
            address.eq(Mux(post.valid, post.address, waiting_address)),
            # the banks it needs are worked out in the second cycle
            memory.valid.eq(asked), memory.address.eq(address), late_for_dma.eq(for_dma),
            memory.need.eq(banks_needed(self.config, address, vector=self.vector)),
        ]
        answer, answered = Signal.like(memory.data, reset_less=True), Signal()
        m.d.sync += [answer.eq(memory.data), answered.eq(memory.data_valid)]
        m.d.comb += [dma.data.eq(answer), post.data.eq(answer)]
        self._answers(m, late_for_dma, answered, 1)
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
        self._answers(m, ~post.valid, memory.data_valid, 0)

    def _answers(self, m, for_dma, valid, cycles):
        """Tell whose the data are that memory delivered so many cycles ago."""
        owners = Signal(read_latency(self.config, vector=self.vector) + cycles, reset_less=True)
        m.d.sync += owners.eq(Cat(for_dma, owners))
        m.d.comb += [self.dma.data_valid.eq(valid & owners[-1]),
                     self.post.data_valid.eq(valid & ~owners[-1])]
