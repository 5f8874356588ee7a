"""The two accumulator stores: one gathers column sums while POST drains the other."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.config import Config
from systolith.hw.latency import ACCUMULATE_CYCLES, DRAIN_LATENCY
from systolith.hw.replica import copy_of

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

    Columns work cluster after cluster, as the array delivers. Each store of each column is one
    block RAM with one write port (the sums) and one read port (the sums' old values, or POST).

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
        ``DRAIN_LATENCY`` cycles later.
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
        # the old value must meet the sum, which is registered once, three cycles after its address
        # is given
        control = self._delayed(m, self.entry, self.latency - 2, "entry")
        drain_store = self._delayed(m, self.drain_store, DRAIN_LATENCY - 1, "drain_store")
        for column in range(c.columns):
            old = self._column(m, column, control)
            drains = copy_of(m, drain_store, name=f"drains{column}")
            m.d.comb += self.drained[column].eq(Mux(drains, old[1], old[0]))
            if (column + 1) % c.cluster_columns == 0 and column != c.columns - 1:
                control = self._delayed(m, control, 1, f"control{column}_")
        last = self._delayed(m, control, 1 + ACCUMULATE_CYCLES, "ended")
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

    def _column(self, m, column, control):
        """Build one column; return the registered read data of its two stores."""
        c = self.config
        width = c.accumulator_bits
        old = [Signal(signed(width), name=f"old{column}_{s}") for s in range(2)]
        next_ = self._delayed(m, control, 1, f"next{column}_")
        coming = self._delayed(m, next_, 1, f"coming{column}_")
        drain_address = copy_of(m, self.drain_address, name=f"drain_address{column}")
        total, arrived = (Signal(signed(width), name=f"{name}{column}")
                          for name in ("total", "arrived"))
        before = Signal(signed(width), name=f"before{column}")
        added = []
        address = self._delayed(m, coming.address, 2, f"address{column}_")
        for s in range(2):
            memory = BlockRam(width=width, depth=c.accumulator_depth)
            m.submodules[f"column{column}_store{s}"] = memory
            adds, stores, writes = (Signal(name=f"{name}{column}_{s}")
                                    for name in ("adds", "stores", "writes"))
            m.d.sync += [
                adds.eq((coming.store == s) & ~coming.clear),
                stores.eq(coming.valid & (coming.store == s)), writes.eq(stores),
            ]
            m.d.comb += [
                memory.read.eq(1),
                memory.read_address.eq(Mux(next_.valid & (next_.store == s), next_.address,
                                           drain_address)),
                memory.write.eq(writes), memory.write_address.eq(address),
                memory.write_data.eq(Cat(total)), old[s].eq(memory.data),
            ]
            added.append(old[s] & adds.replicate(width))
        m.d.comb += before.eq(added[0] | added[1])
        m.d.sync += [arrived.eq(self.psums[column]), total.eq(before + arrived)]
        return old
