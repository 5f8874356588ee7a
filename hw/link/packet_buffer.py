"""Store and forward: a ring of bytes that gives out whole frames whose CRC was good."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.link.framing import PacketByte, ReceivedByte

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
        # One write and one read port, synchronous read: block RAM, nine bits wide.
        m.submodules.ring = ring = Memory(shape=PacketByte, depth=self.depth, init=[])
        write = ring.write_port()
        read = ring.read_port(transparent_for=(write,))

        # Bytes [tail, committed) are whole frames, [committed, head) the frame being received.
        head = Signal(range(self.depth))
        committed = Signal.like(head)
        tail = Signal.like(head)

        full = Signal()
        overflow = Signal()
        take = Signal()
        m.d.comb += [
            full.eq((head + 1)[:len(head)] == tail),
            self.i.ready.eq(~full | overflow | (committed == tail)),
            take.eq(self.i.valid & self.i.ready),
            write.addr.eq(head),
            write.data.data.eq(self.i.p.data),
            write.data.last.eq(self.i.p.last),
            write.en.eq(take & ~full),
        ]
        with m.If(take):
            with m.If(~self.i.p.last):
                m.d.sync += overflow.eq(overflow | full)
                with m.If(~full):
                    m.d.sync += head.eq(head + 1)
            with m.Else():
                m.d.sync += overflow.eq(0)
                with m.If(self.i.p.good & ~overflow & ~full):
                    m.d.sync += [head.eq(head + 1), committed.eq(head + 1)]
                with m.Else():
                    m.d.sync += head.eq(committed)
                    m.d.comb += self.dropped.eq(1)

        # The read port is addressed a cycle ahead, so a byte leaves each cycle.
        following = Signal.like(tail)
        m.d.comb += [
            following.eq(tail + (self.o.valid & self.o.ready)),
            read.addr.eq(following),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [tail.eq(following), self.o.valid.eq(following != committed)]
        return m
