"""The two accumulator stores: one gathers column sums while POST drains the other."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import accumulate_cycles, drain_latency

__all__ = ["AccumulatorStores", "entry_layout"]



def entry_layout(config: Config) -> data.StructLayout:
    """Return what accompanies a vector into the array.

    ``valid``: there is a vector; its sums go to ``address`` of ``store``, replacing (``clear``)
    or adding. ``end``: the group in ``store`` is complete with this cycle's vector, if any.
    """
    return data.StructLayout({
        "valid": unsigned(1), "address": unsigned(config.acc_address_bits), "clear": unsigned(1),
        "store": unsigned(1), "end": unsigned(1),
    })


class AccumulatorStores(wiring.Component):
    """``store[address][c] = psum[c] + (0 if clear else store[address][c])``, one vector a cycle.

    Column c works c cycles after column 0, as the array delivers. Each store of each column is one
    block RAM with one write port (the sums) and one read port (the sums' old values, or POST).
    A shallow array delivers all columns at once: each store is one block RAM then.

    Parameters
    ----------
    latency : :class:`int`
        Cycles from ``entry`` to column 0's sum.

    Members
    -------
    entry : :py:`In(entry_layout(config))`
        Of the vector whose sums arrive ``latency`` cycles later.
    psums : :py:`In(ArrayLayout(signed(psum_bits), columns))`
    filled : :py:`Out(2)`
        Pulse per store: its group is complete and stored.
    drain_store, drain_address : In
        POST's read; it must own the store.
    drained : :py:`Out(ArrayLayout(signed(accumulator_bits), columns))`
        ``drain_latency`` cycles later.
    """

    def __init__(self, config: Config, *, latency: int):
        self.config, self.latency = config, latency
        super().__init__({
            "entry": In(entry_layout(config)),
            "psums": In(data.ArrayLayout(signed(config.psum_bits), config.columns)),
            "filled": Out(2), "drain_store": In(1), "drain_address": In(config.acc_address_bits),
            "drained": Out(data.ArrayLayout(signed(config.accumulator_bits), config.columns)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        # the old value must meet the sum so many cycles after its address is presented
        ahead = 1 if c.shallow else 2
        control = self._delayed(m, self.entry, self.latency - ahead, "entry")
        drain_store = self._delayed(m, self.drain_store, drain_latency(c), "drain_store")
        # columns that work in the same cycle share their memories
        width = c.columns if c.shallow else 1
        for column in range(0, c.columns, width):
            columns = range(column, column + width)
            old = self._columns(m, columns, control)
            for n, (first, second) in zip(columns, zip(*old, strict=True), strict=True):
                m.d.comb += self.drained[n].eq(Mux(drain_store, second, first))
            if columns[-1] != c.columns - 1:
                control = self._delayed(m, control, 1, f"control{column}_")
        last = self._delayed(m, control, accumulate_cycles(c), "ended")
        for store in range(2):
            m.d.comb += self.filled[store].eq(last.end & (last.store == store))
        return m

    @staticmethod
    def _delayed(m, value, cycles, name):
        for i in range(cycles):
            later = Signal.like(value, name=f"{name}{i}")
            m.d.sync += later.eq(value)
            value = later
        return value

    def _columns(self, m, columns, control):
        """Build columns side by side; return the read data of their two stores, deep: registered.

        Each is a list of the columns' sums.
        """
        c = self.config
        name = f"column{columns[0]}"
        sums = data.ArrayLayout(signed(c.accumulator_bits), len(columns))
        old = [Signal(sums, name=f"old_{name}_{s}") for s in range(2)]
        total = Signal(sums, name=f"total_{name}")
        adding = self._delayed(m, control, 1 if c.shallow else 2, f"adding_{name}_")
        storing = adding if c.shallow else self._delayed(m, adding, 1, f"storing_{name}_")
        domain = m.d.comb if c.shallow else m.d.sync
        for i, column in enumerate(columns):
            before = Signal(signed(c.accumulator_bits), name=f"before{column}")
            m.d.comb += before.eq(Mux(adding.clear, 0, Mux(adding.store, old[1][i], old[0][i])))
            domain += total[i].eq(before + self.psums[column])
        for s in range(2):
            memory = Memory(shape=unsigned(sums.size), depth=c.accumulator_depth, init=[])
            m.submodules[f"{name}_store{s}"] = memory
            w, r = memory.write_port(), memory.read_port()
            reading = Signal(name=f"reading_{name}_{s}")
            m.d.comb += [
                reading.eq(control.valid & (control.store == s)),
                r.addr.eq(Mux(reading, control.address, self.drain_address)),
                w.addr.eq(storing.address), w.data.eq(total.as_value()),
                w.en.eq(storing.valid & (storing.store == s)),
            ]
            domain += old[s].eq(r.data)
        return old
