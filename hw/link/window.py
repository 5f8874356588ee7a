"""Which request comes next, which ones were before, and how those ended."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.link.protocol import RECENT, Status

__all__ = ["SequenceWindow"]


class SequenceWindow(wiring.Component):
    """The number of the next request, and the outcomes of the last ``RECENT`` ones.

    Members
    -------
    sequence : :py:`In(16)`
        Number of the request at hand.
    fresh, recent : :py:`Out(1)`
        It is the next one; it is one of the last ``RECENT`` before.
    outcome : :py:`Out(Status)`
        How the request of the ``sequence`` two cycles ago ended, if it is ``recent``.
    jump : :py:`In(1)`
        Make ``sequence`` the next one.
    advance, status : :py:`In(1)`, :py:`In(Status)`
        The next request has ended, and how; the one after it is the next now.
    expected : :py:`Out(16)`
        The next request's number.
    following : :py:`Out(16)`
        The next request's number, ``advance`` taken into account.
    """

    sequence: In(16)
    fresh: Out(1)
    recent: Out(1)
    outcome: Out(Status)
    jump: In(1)
    advance: In(1)
    status: In(Status)
    expected: Out(16)
    following: Out(16)

    def elaborate(self, platform) -> Module:
        m = Module()
        # A block RAM, where flip-flops would cost more than all the rest of this block.
        m.submodules.outcomes = outcomes = BlockRam(width=Shape.cast(Status).width, depth=RECENT)

        expected = self.expected
        after = Signal(16)                       # expected + 1; a request takes longer than the sum
        distance = Signal(16)
        m.d.comb += [
            distance.eq(self.sequence - expected),
            self.fresh.eq(distance == 0),
            self.recent.eq(distance[RECENT.bit_length() - 1:].all()),
            self.following.eq(Mux(self.advance, after, expected)),
            outcomes.write.eq(self.advance),
            outcomes.write_address.eq(expected),
            outcomes.write_data.eq(self.status),
            outcomes.read.eq(1),
            outcomes.read_address.eq(self.sequence),
            self.outcome.eq(outcomes.data),
        ]
        m.d.sync += [after.eq(expected + 1), expected.eq(self.following)]
        with m.If(self.jump):
            m.d.sync += expected.eq(self.sequence)
        return m
