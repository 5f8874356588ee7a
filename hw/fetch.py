"""Reading ahead: a nest's addresses go out as fast as memory grants, its data wait in a FIFO."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import aligned_latency, vector_latency
from systolith.hw.memory import banks_needed, read_port

__all__ = ["FetchQueue"]


class FetchQueue(wiring.Component):
    """Reads memory for a nest and keeps the answers, each with the tag of its request, in order.

    A request is made only while there is room for its answer (a credit), so nothing downstream can
    stall the memory.

    Parameters
    ----------
    width : :class:`int`
        Bits of each answer that are kept (from element 0 up).
    tag_width : :class:`int`
        Bits that travel with a request.
    depth : :class:`int`
        Answers kept, a power of two.
    vector : :class:`bool`
        Vectors from any address, or whole words.

    Members
    -------
    memory : :py:`Out(read_port(config))`
    want, address, tag : In
        A request; ``accepted`` takes it.
    valid, data, data_tag, level : Out
        The oldest answer, and how many there are. ``take`` removes it.
    """

    def __init__(self, config: Config, *, width: int, tag_width: int, depth: int, vector: bool):
        self.config, self.width, self.tag_width = config, width, tag_width
        self.depth, self.vector = depth, vector
        self.latency = (vector_latency if vector else aligned_latency)(config)
        super().__init__({
            "memory": Out(read_port(config)), "want": In(1), "address": In(config.address_bits),
            "tag": In(tag_width), "accepted": Out(1), "valid": Out(1), "data": Out(width),
            "data_tag": Out(tag_width), "level": Out(range(depth + 2)), "take": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        # the FIFO keeps one more entry in its output register
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self.width + self.tag_width,
                                                    depth=self.depth + 1)
        credits = Signal(range(self.depth + 1), init=self.depth)
        taking, asking = Signal(), Signal()
        tag = Signal(self.tag_width, reset_less=True)
        address = Signal.like(self.memory.address, reset_less=True)
        need = Signal.like(self.memory.need, reset_less=True)
        m.d.comb += [
            self.memory.valid.eq(asking), self.memory.address.eq(address),
            self.memory.need.eq(need), taking.eq(self.take & self.valid),
        ]
        m.d.sync += credits.eq(credits - self.accepted + taking)
        request = [tag.eq(self.tag), address.eq(self.address),
                   need.eq(banks_needed(self.config, self.address, vector=self.vector))]
        if self.config.shallow:
            m.d.comb += [*request, asking.eq(self.want & (credits != 0)),
                         self.accepted.eq(self.memory.grant)]
        else:
            # a request waits for its grant in registers: the arbiter's way to the walker is short
            m.d.comb += self.accepted.eq(self.want & (credits != 0) & (~asking | self.memory.grant))
            with m.If(self.accepted):
                m.d.sync += [asking.eq(1), *request]
            with m.Elif(self.memory.grant):
                m.d.sync += asking.eq(0)

        for stage in range(self.latency):
            later = Signal(self.tag_width, name=f"tag{stage}", reset_less=True)
            m.d.sync += later.eq(tag)
            tag = later
        m.d.comb += [
            fifo.w_en.eq(self.memory.data_valid),
            fifo.w_data.eq(Cat(self.memory.data.as_value()[:self.width], tag)),
            self.valid.eq(fifo.r_rdy), self.level.eq(fifo.level),
            Cat(self.data, self.data_tag).eq(fifo.r_data), fifo.r_en.eq(self.take),
        ]
        return m
