"""A register in a stream, for both directions of the handshake."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamRegister"]


class StreamRegister(wiring.Component):
    """Pass a stream on a cycle later, an item a cycle; no signal goes through in one cycle.

    Parameters
    ----------
    shape
        Of the payload.

    Members
    -------
    i, o : :py:`In(stream.Signature(shape))`, :py:`Out(stream.Signature(shape))`
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform) -> Module:
        m = Module()
        # the spare takes the item that arrives while ``o`` is stalled
        valid, spare_valid = Signal(), Signal()
        payload = Signal.like(self.o.payload, reset_less=True)
        spare = Signal.like(self.o.payload, reset_less=True)
        m.d.comb += [self.i.ready.eq(~spare_valid), self.o.valid.eq(valid),
                     self.o.payload.eq(payload)]
        with m.If(~spare_valid):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(~valid | self.o.ready):
            m.d.sync += [valid.eq(spare_valid | self.i.valid), spare_valid.eq(0),
                         payload.eq(Mux(spare_valid, spare, self.i.payload))]
        with m.Elif(self.i.valid):
            m.d.sync += spare_valid.eq(1)
        return m
