"""The accumulator stores of shallow pipelines: all columns in one memory, no register between."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory

from systolith.hw.accumulator import AccumulatorStores
from systolith.hw.latency import accumulate_cycles, drain_latency

__all__ = ["ShallowStores"]


class ShallowStores(AccumulatorStores):
    """``AccumulatorStores`` for an array that delivers all columns at once.

    Each store is one block RAM, as wide as all sums; what it reads is added to and stored in the
    next cycle.
    """

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        # the old value must meet the sum a cycle after its address is presented
        control = self._delayed(m, self.entry, self.latency - 1, "entry")
        adding = self._delayed(m, control, 1, "adding")
        drain_store = self._delayed(m, self.drain_store, drain_latency(c), "drain_store")
        total = Signal(data.ArrayLayout(signed(c.accumulator_bits), c.columns))
        old = [self._store(m, store, control, adding, total) for store in range(2)]
        for n in range(c.columns):
            before = Signal(signed(c.accumulator_bits), name=f"before{n}")
            m.d.comb += [
                before.eq(Mux(adding.clear, 0, Mux(adding.store, old[1][n], old[0][n]))),
                total[n].eq(before + self.psums[n]),
                self.drained[n].eq(Mux(drain_store, old[1][n], old[0][n])),
            ]
        last = self._delayed(m, control, accumulate_cycles(c), "ended")
        for store in range(2):
            m.d.comb += self.filled[store].eq(last.end & (last.store == store))
        return m

    def _store(self, m, number, control, adding, total):
        """Build one store; return the sums it reads."""
        memory = Memory(shape=unsigned(total.shape().size), depth=self.config.accumulator_depth,
                        init=[])
        m.submodules[f"store{number}"] = memory
        write, read = memory.write_port(), memory.read_port()
        old, reading = Signal(total.shape(), name=f"old{number}"), Signal(name=f"reading{number}")
        m.d.comb += [
            reading.eq(control.valid & (control.store == number)),
            read.addr.eq(Mux(reading, control.address, self.drain_address)),
            old.eq(read.data), write.addr.eq(adding.address), write.data.eq(total.as_value()),
            write.en.eq(adding.valid & (adding.store == number)),
        ]
        return old
