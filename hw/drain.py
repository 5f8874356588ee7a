"""What follows a pass of outer products: entries that carry the sums to the accumulators."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.accumulator import entry_layout
from systolith.hw.config import Config

__all__ = ["Drain"]


class Drain(wiring.Component):
    """Turns a pass's last entry into one for each row of the array, the last row's first.

    The row r goes to the entry's address + r.

    Members
    -------
    start, first : In
        The pass ends with this entry.
    busy, begins : Out
        The R cycles that follow, in which no vector may enter; the first of them.
    entry : Out
        With ``start`` and in all but the last of those cycles: the entries.
    """

    def __init__(self, config: Config):
        self.config = config
        layout = entry_layout(config)
        super().__init__({"start": In(1), "first": In(layout), "busy": Out(1), "begins": Out(1),
                          "entry": Out(layout)})

    def elaborate(self, platform) -> Module:
        m = Module()
        following = Signal.like(self.first, reset_less=True)
        left = Signal(range(self.config.rows), reset_less=True)
        m.d.sync += self.begins.eq(self.start)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), following.eq(self.first),
                         following.address.eq(self.first.address - 1),
                         left.eq(self.config.rows - 1)]
        with m.Elif(self.busy):
            m.d.sync += [self.busy.eq(left != 0), left.eq(left - 1),
                         following.address.eq(following.address - 1)]
        m.d.comb += [
            self.entry.eq(Mux(self.busy, following, self.first)),
            self.entry.valid.eq(Mux(self.busy, left != 0, self.start)),
            self.entry.end.eq(self.busy & following.end & (left == 1)),
        ]
        return m
