"""The device's end of the protocol: requests in sequence, each executed once, each answered."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.link.framing import PacketByte
from systolith.hw.link.protocol import (
    CRC_BYTES,
    HEADER_BYTES,
    RECENT,
    RequestHeader,
    ResponseHeader,
    Status,
    Target,
)

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
        Why ``transfer.request`` must not be executed, or ``OK``; combinational.
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
        transfer = self.transfer

        # The header shifts in at the top, and out at the bottom as the response's header.
        header = Signal(8 * HEADER_BYTES)
        request = RequestHeader(header)
        m.d.comb += transfer.request.eq(request)

        # Outcomes of the last requests, by the low bits of their sequence number.
        # A block RAM, where flip-flops would cost more than all the rest of this block.
        m.submodules.outcomes = outcomes = Memory(
            shape=Status, depth=RECENT, init=[], attrs={"ram_style": "block"})
        remember, recall = outcomes.write_port(), outcomes.read_port()

        expected = Signal(16)
        status = Signal(Status)
        advance = Signal()
        reading = Signal()
        count = Signal(range(HEADER_BYTES))
        distance = Signal(16)
        fresh = Signal()
        recent = Signal()
        m.d.comb += [
            distance.eq(request.sequence - expected),
            fresh.eq(distance == 0),
            recent.eq(distance[RECENT.bit_length() - 1:].all()),
            recall.addr.eq(request.sequence),
            remember.addr.eq(expected),
            remember.data.eq(status),
            transfer.write.payload.eq(self.i.p.data),
        ]
        byte = Signal()
        end = Signal()
        m.d.comb += [byte.eq(self.i.valid & self.i.ready), end.eq(byte & self.i.p.last)]

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(byte):
                    m.d.sync += [header.eq(Cat(header[8:], self.i.p.data)), count.eq(count + 1)]
                    with m.If(count == HEADER_BYTES - 1):
                        m.next = "JUDGE"
                with m.If(end):
                    m.d.sync += count.eq(0)
                    m.d.comb += self.dropped.eq(1)
                    m.next = "HEADER"

            with m.State("JUDGE"):
                m.d.sync += [
                    status.eq(Status.OUT_OF_ORDER), advance.eq(0), reading.eq(0), count.eq(0),
                ]
                m.next = "SKIP"
                with m.If(request.target == Target.SESSION):
                    with m.If(request.address == expected):
                        m.d.sync += [
                            status.eq(Status.OK), advance.eq(1), expected.eq(request.sequence),
                        ]
                with m.Elif(fresh | (recent & ~request.write)):
                    m.d.sync += [status.eq(self.refusal), advance.eq(fresh)]
                    with m.If(self.refusal == Status.OK):
                        m.d.sync += reading.eq(~request.write)
                        m.d.comb += transfer.start.eq(1)
                        with m.If(request.write):
                            m.next = "WRITE"
                with m.Elif(recent):
                    m.next = "RECALL"
                with m.Else():
                    m.d.comb += self.dropped.eq(1)

            with m.State("RECALL"):
                m.d.sync += status.eq(recall.data)
                m.next = "SKIP"

            with m.State("WRITE"):
                # Payload goes to the device; a frame that ends in it was shorter than it said.
                m.d.comb += [
                    transfer.write.valid.eq(self.i.valid), self.i.ready.eq(transfer.write.ready),
                ]
                with m.If(end):
                    m.d.comb += transfer.abort.eq(1)
                    m.d.sync += status.eq(Status.BAD_LENGTH)
                    m.next = "ANSWER"
                with m.Elif(transfer.done):
                    m.next = "TAIL"

            with m.State("TAIL"):
                # Just the CRC is left, or the frame was longer than it said.
                m.d.comb += self.i.ready.eq(1)
                with m.If(byte & (count != CRC_BYTES)):
                    m.d.sync += count.eq(count + 1)
                with m.If(end):
                    with m.If(count != CRC_BYTES - 1):
                        m.d.sync += status.eq(Status.BAD_LENGTH)
                    m.next = "ANSWER"

            with m.State("SKIP"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(end):
                    m.next = "ANSWER"

            with m.State("ANSWER"):
                response = ResponseHeader(header)
                following = Signal(16)
                m.d.comb += [following.eq(expected + advance), remember.en.eq(advance)]
                m.d.sync += [
                    expected.eq(following),
                    count.eq(0),
                    response.response.eq(1),
                    response.length.eq(Mux(reading, request.length, 0)),
                    response.status.eq(status),
                    response.reserved.eq(0),
                    response.expected.eq(following),
                ]
                m.next = "SEND"

            with m.State("SEND"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.p.data.eq(header[:8]),
                    self.o.p.last.eq((count == HEADER_BYTES - 1) & ~reading),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [header.eq(header[8:]), count.eq(count + 1)]
                    with m.If(count == HEADER_BYTES - 1):
                        m.next = "HEADER"
                        with m.If(reading):
                            m.next = "READ"

            with m.State("READ"):
                m.d.comb += [
                    self.o.valid.eq(transfer.read.valid), self.o.payload.eq(transfer.read.payload),
                    transfer.read.ready.eq(self.o.ready),
                ]
                with m.If(self.o.valid & self.o.ready & self.o.p.last):
                    m.next = "HEADER"
        return m
