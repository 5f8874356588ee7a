"""The device's end of the protocol: requests in sequence, each executed once, each answered."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.link.framing import PacketByte
from systolith.hw.link.protocol import (
    CRC_BYTES,
    HEADER_BYTES,
    RequestHeader,
    ResponseHeader,
    Status,
    Target,
)
from systolith.hw.link.window import SequenceWindow

__all__ = ["Endpoint", "Transfer"]


#: A transfer between the link and the device, from the endpoint's point of view. ``request`` is
#: valid with ``start``, a pulse. ``abort`` ends a write whose data fell short, ``done`` says that
#: a write has taken effect, and withdraws the byte behind its last; a read ends with its last byte.
Transfer = wiring.Signature({
    "request": Out(RequestHeader),
    "start": Out(1),
    "abort": Out(1),
    "done": In(1),
    "write": Out(stream.Signature(8)),
    "read": In(stream.Signature(PacketByte)),
})


class Endpoint(wiring.Component):
    """Decide what to do with each frame, have it done, and answer it.

    With ``d = sequence - expected`` (modulo 2**16): a request with ``d == 0`` is executed and
    ``expected`` moves on, whatever its outcome. With ``-RECENT <= d < 0`` it was executed before:
    a write is answered with the outcome remembered, a read is done again. All others are
    answered ``OUT_OF_ORDER``. HELLO makes its own number the expected one, if its address field
    names the number expected so far.

    Members
    -------
    i : :py:`In(stream.Signature(PacketByte))`
        Frames with good CRC, the CRC bytes still at their end.
    o : :py:`Out(stream.Signature(PacketByte))`
        Responses, without CRC.
    transfer : :py:`Out(Transfer)`
        What does the work.
    refusal : :py:`In(Status)`
        Why ``transfer.request`` must not be executed, or ``OK``; two cycles after the request.
    dropped : :py:`Out(1)`
        Pulse: a frame too short for a header, or out of order.
    """

    i: In(stream.Signature(PacketByte))
    o: Out(stream.Signature(PacketByte))
    transfer: Out(Transfer)
    refusal: In(Status)
    dropped: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.window = window = SequenceWindow()

        # The header shifts in at the top, and out at the bottom as the response's header.
        header = Signal(8 * HEADER_BYTES)
        count = Signal(range(HEADER_BYTES))
        request = RequestHeader(header)
        m.d.comb += [
            self.transfer.request.eq(request),
            self.transfer.write.payload.eq(self.i.p.data),
            window.sequence.eq(request.sequence),
        ]

        # The outcome: its status, whether the window moves on, whether data follow.
        status = Signal(Status)
        advance = Signal()
        reading = Signal()
        m.d.comb += window.status.eq(status)

        with m.FSM():
            self._header(m, header, count)
            self._judge(m, request, window, status, advance, reading, count)
            self._payload(m, count, status)
            self._answer(m, header, count, window, status, advance, reading)
        return m

    def _header(self, m, header, count):
        """Collect the header; drop a frame that ends in it."""
        with m.State("HEADER"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [header.eq(Cat(header[8:], self.i.p.data)), count.eq(count + 1)]
                with m.If(self.i.p.last):
                    m.d.sync += count.eq(0)
                    m.d.comb += self.dropped.eq(1)
                with m.Elif(count == HEADER_BYTES - 1):
                    m.next = "SUMS"

    def _judge(self, m, request, window, status, advance, reading, count):
        """Decide what to do with the request, and begin it."""
        fresh, recent, in_turn = (Signal(name=name, reset_less=True)
                                  for name in ("fresh", "recent", "in_turn"))
        refusal = Signal(Status, reset_less=True)
        m.d.sync += [
            fresh.eq(window.fresh), recent.eq(window.recent), refusal.eq(self.refusal),
            in_turn.eq(request.address == window.expected),
        ]
        # the header is there; then sums, what they compare to, and what is looked at in JUDGE
        for state, after in pairwise(("SUMS", "COMPARE", "WEIGH", "JUDGE")):
            with m.State(state):
                m.next = after

        with m.State("JUDGE"):
            m.d.sync += [
                status.eq(Status.OUT_OF_ORDER), advance.eq(0), reading.eq(0), count.eq(0),
            ]
            m.next = "SKIP"
            with m.If(request.target == Target.SESSION):
                with m.If(in_turn):
                    m.d.comb += window.jump.eq(1)
                    m.d.sync += [status.eq(Status.OK), advance.eq(1)]
            with m.Elif(fresh | (recent & ~request.write)):
                m.d.sync += [status.eq(refusal), advance.eq(fresh)]
                with m.If(refusal == Status.OK):
                    m.d.comb += self.transfer.start.eq(1)
                    m.d.sync += reading.eq(~request.write)
                    with m.If(request.write):
                        m.next = "WRITE"
            with m.Elif(recent):
                m.next = "RECALL"
            with m.Else():
                m.d.comb += self.dropped.eq(1)

        with m.State("RECALL"):
            m.d.sync += status.eq(window.outcome)
            m.next = "SKIP"

    def _payload(self, m, count, status):
        """Take the rest of the frame, which must be as long as the header says."""
        end = Signal()
        m.d.comb += end.eq(self.i.valid & self.i.ready & self.i.p.last)

        with m.State("WRITE"):
            m.d.comb += [
                self.transfer.write.valid.eq(self.i.valid),
                self.i.ready.eq(self.transfer.write.ready),
            ]
            with m.If(end):
                m.d.comb += self.transfer.abort.eq(1)
                m.d.sync += status.eq(Status.BAD_LENGTH)
                m.next = "ANSWER"
            with m.Elif(self.transfer.done):
                m.next = "TAIL"

        with m.State("TAIL"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid & (count != CRC_BYTES)):
                m.d.sync += count.eq(count + 1)
            with m.If(end):
                with m.If(count != CRC_BYTES - 1):
                    m.d.sync += status.eq(Status.BAD_LENGTH)
                m.next = "ANSWER"

        with m.State("SKIP"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(end):
                m.next = "ANSWER"

    def _answer(self, m, header, count, window, status, advance, reading):
        """Turn the request's header into the response's, send it, and what was read."""
        response = ResponseHeader(header)
        with m.State("ANSWER"):
            m.d.comb += window.advance.eq(advance)
            m.d.sync += [
                count.eq(0),
                response.response.eq(1),
                response.length.eq(Mux(reading, response.length, 0)),
                response.status.eq(status),
                response.reserved.eq(0),
                response.expected.eq(window.following),
            ]
            m.next = "SEND"

        with m.State("SEND"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.data.eq(header[:8]),
                self.o.p.last.eq((count == HEADER_BYTES - 1) & ~reading),
            ]
            with m.If(self.o.ready):
                m.next = "SHIFT"

        with m.State("SHIFT"):                   # who takes a byte is far from the header
            m.d.sync += [header.eq(header[8:]), count.eq(count + 1)]
            m.next = "SEND"
            with m.If(count == HEADER_BYTES - 1):
                m.next = "HEADER"
                with m.If(reading):
                    m.next = "READ"

        with m.State("READ"):
            read = self.transfer.read
            m.d.comb += [
                self.o.valid.eq(read.valid), self.o.payload.eq(read.payload),
                read.ready.eq(self.o.ready),
            ]
            with m.If(self.o.valid & self.o.ready & self.o.p.last):
                m.next = "HEADER"
