"""What follows a pass of outer products: entries that carry the sums to the accumulators."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.accumulator import entry_layout
from systolith.hw.config import Config

__all__ = ["Drain"]


class Drain(wiring.Component):
    """Turns a pass's last entry into one for each row of the array, to addresses one by one.

    Members
    -------
    start, first : In
        The pass ends with this entry.
    busy, begins, entry : Out
        In the R cycles that follow: the entries, ``begins`` with the first.
    """

    def __init__(self, config: Config):
        self.config = config
        layout = entry_layout(config)
        super().__init__({"start": In(1), "first": In(layout), "busy": Out(1), "begins": Out(1),
                          "entry": Out(layout)})

    def elaborate(self, platform) -> Module:
        m = Module()
        kept = Signal.like(self.first, reset_less=True)
        left = Signal(range(self.config.rows), reset_less=True)
        m.d.sync += self.begins.eq(self.start)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), kept.eq(self.first), left.eq(self.config.rows - 1)]
        with m.Elif(self.busy):
            m.d.sync += [self.busy.eq(left != 0), left.eq(left - 1),
                         kept.address.eq(kept.address + 1)]
        m.d.comb += [
            self.entry.valid.eq(self.busy), self.entry.address.eq(kept.address),
            self.entry.clear.eq(kept.clear), self.entry.store.eq(kept.store),
            self.entry.end.eq(self.busy & kept.end & (left == 0)),
        ]
        return m
