"""Reading ahead: a nest's addresses go out as fast as memory grants, its data wait in a FIFO."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.hw.bank import lane_groups
from systolith.hw.config import Config
from systolith.hw.lane_buffer import LaneBuffer
from systolith.hw.latency import read_latency
from systolith.hw.memory import banks_needed, read_port

__all__ = ["FetchQueue"]


class FetchQueue(wiring.Component):
    """Reads memory for a nest and keeps the answers, each with the tag of its request, in order.

    A request is made only while there is room for its answer (a credit), so nothing downstream can
    stall the memory. Two requests can wait for memory's grant: so whether a request is accepted
    depends on registers alone, and the way from the arbiter to the walker is cut.

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
        The oldest answer, and how many there are. ``take`` removes it
        (only while ``valid``).
    """

    def __init__(self, config: Config, *, width: int, tag_width: int, depth: int, vector: bool):
        self.config, self.width, self.tag_width = config, width, tag_width
        self.depth, self.vector = depth, vector
        self.latency = read_latency(config, vector=vector)
        super().__init__({
            "memory": Out(read_port(config)), "want": In(1), "address": In(config.address_bits),
            "tag": In(tag_width), "accepted": Out(1), "valid": Out(1), "data": Out(width),
            "data_tag": Out(tag_width), "level": Out(range(depth + 2)), "take": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        credits, room = Signal(range(self.depth + 1), init=self.depth), Signal(init=1)
        m.d.sync += [
            credits.eq(credits - self.accepted + self.take),
            room.eq(self.take | (credits > 1) | ((credits == 1) & ~self.accepted)),
        ]
        tag = self._queue(m, room)

        for stage in range(self.latency):
            later = Signal(self.tag_width, name=f"tag{stage}", reset_less=True)
            m.d.sync += later.eq(tag)
            tag = later
        word = self.memory.data.as_value()[:self.width]
        # the FIFO keeps one more entry in its output register
        kept = Cat(tag, Const(0, self.tag_width == 0))
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=len(kept), depth=self.depth + 1)
        m.d.comb += [
            fifo.w_en.eq(self.memory.data_valid), fifo.w_data.eq(kept), fifo.r_en.eq(self.take),
            self.valid.eq(fifo.r_rdy), self.level.eq(fifo.level),
            self.data_tag.eq(fifo.r_data[:self.tag_width]),
        ]
        m.submodules.words = words = LaneBuffer(
            width=self.width, depth=self.depth, groups=len(lane_groups(self.config)))
        coming = self.memory.valid & self.memory.grant
        for cycle in range(self.latency - 1):
            later = Signal(name=f"coming{cycle}")
            m.d.sync += later.eq(coming)
            coming = later
        m.d.comb += [words.coming.eq(coming), words.written.eq(word),
                     words.take.eq(self.take), self.data.eq(words.word)]
        return m

    def _queue(self, m, room):
        """Queue requests for memory; return the tag of the one that asks.

        Banks needed move up to the first place; addresses and tags take turns in two, so that a
        grant has little to enable.
        """
        asking, spare = Signal(), Signal()
        first, second = (Signal(self.config.banks, name=name, reset_less=True)
                         for name in ("first_need", "second_need"))
        need = banks_needed(self.config, self.address, vector=self.vector)
        m.d.comb += [
            self.accepted.eq(self.want & room & ~spare),
            self.memory.valid.eq(asking), self.memory.need.eq(first),
        ]
        with m.If(~spare):
            m.d.sync += second.eq(need)
        with m.If(~asking | self.memory.grant):
            m.d.sync += [asking.eq(spare | self.accepted), spare.eq(0),
                         first.eq(Mux(spare, second, need))]
        with m.Elif(self.accepted):
            m.d.sync += spare.eq(1)

        kept, new = Signal(), Signal()           # places of the oldest and of the next request
        new_request = Cat(self.address, self.tag)
        requests = [Signal(len(new_request), name=f"request{i}", reset_less=True)
                    for i in range(2)]
        for i, request in enumerate(requests):
            with m.If(~spare & (new == i)):      # a free place: it may take what is not accepted
                m.d.sync += request.eq(new_request)
        oldest = Mux(kept, requests[1], requests[0])
        m.d.sync += [new.eq(new ^ self.accepted), kept.eq(kept ^ self.memory.grant)]
        m.d.comb += self.memory.address.eq(oldest[:len(self.address)])
        return oldest[len(self.address):]
