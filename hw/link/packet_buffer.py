"""Store and forward: a ring of bytes that gives out whole frames whose CRC was good."""

from amaranth.hdl import Cat, Module, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.block_ram import BlockRam
from systolith.hw.link.framing import PacketByte, ReceivedByte
from systolith.hw.link.stream_register import StreamRegister

__all__ = ["PacketBuffer"]


class PacketBuffer(wiring.Component):
    """Keep a frame until its CRC is known to be good, then pass it on; drop bad ones.

    A full ring stalls ``i`` while there are whole frames to read. A frame that alone overflows the
    ring is dropped. Dropped frames leave no trace but ``dropped``.

    Parameters
    ----------
    depth : :class:`int`
        Bytes of the ring, a power of two; ``depth - 1`` of them can be in use.

    Members
    -------
    i : :py:`In(stream.Signature(ReceivedByte))`
        Frames as received.
    o : :py:`Out(stream.Signature(PacketByte))`
        Good frames, CRC bytes still at their end.
    dropped : :py:`Out(1)`
        Pulse: a frame was dropped.
    """

    i: In(stream.Signature(ReceivedByte))
    o: Out(stream.Signature(PacketByte))
    dropped: Out(1)

    def __init__(self, depth: int):
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two of at least 4, not {depth!r}")
        self.depth = depth
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.ring = ring = BlockRam(width=Shape.cast(PacketByte).width, depth=self.depth)
        # Bytes [tail, committed) are whole frames, [committed, head) the frame being received.
        head, behind_head = Signal(range(self.depth)), Signal(range(self.depth), init=1)
        committed = Signal.like(head)
        tail = Signal.like(head)
        before_tail = Signal(range(self.depth), init=self.depth - 1)

        # looked up a cycle ahead, so for a cycle it does not know that a byte was read: a full ring
        # with nothing to read is one with a frame that does not fit
        full, alone = Signal(), Signal(init=1)
        m.d.sync += [full.eq(behind_head == tail), alone.eq(committed == tail)]
        overflow = Signal()
        take = Signal()
        m.d.comb += [
            self.i.ready.eq(~full | overflow | alone), take.eq(self.i.valid & self.i.ready),
        ]
        # the block is far: a byte is in it two cycles later
        m.d.sync += [
            ring.write_address.eq(head), ring.write.eq(take & ~full),
            ring.write_data.eq(Cat(self.i.p.data, self.i.p.last)),
        ]
        with m.If(take):
            with m.If(~self.i.p.last):
                m.d.sync += overflow.eq(overflow | full)
                with m.If(~full):
                    m.d.sync += [head.eq(behind_head), behind_head.eq(behind_head + 1),
                                 full.eq(behind_head == before_tail)]
            with m.Else():
                m.d.sync += overflow.eq(0)
                with m.If(self.i.p.good & ~overflow & ~full):
                    m.d.sync += [head.eq(behind_head), committed.eq(behind_head), alone.eq(0),
                                 behind_head.eq(behind_head + 1),
                                 full.eq(behind_head == before_tail)]
                with m.Else():
                    m.d.sync += [head.eq(committed), behind_head.eq(committed + 1),
                                 full.eq(committed == before_tail)]
                    m.d.comb += self.dropped.eq(1)

        # Bytes are read ahead, as many as the register behind the memory has room for.
        m.submodules.ahead = ahead = StreamRegister(PacketByte)
        connect(m, ahead.o, flipped(self.o))
        room, coming = Signal(range(3), init=2), Signal(2)
        readable = Signal.like(committed)        # it is in the block
        m.d.sync += readable.eq(committed)
        m.d.comb += [
            ring.read.eq((tail != readable) & (room != 0)), ring.read_address.eq(tail),
            ahead.i.valid.eq(coming[-1]), ahead.i.payload.eq(ring.data),
        ]
        m.d.sync += [
            tail.eq(tail + ring.read), before_tail.eq(before_tail + ring.read),
            coming.eq(Cat(ring.read, coming)),
            room.eq(room - ring.read + (self.o.valid & self.o.ready)),
        ]
        return m
