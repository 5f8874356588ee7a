"""The POST engine of shallow pipelines: drains accumulators channel by channel."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor
from systolith.hw.engine_ports import post_members
from systolith.hw.isa import POST_LOOPS, Engine
from systolith.hw.latency import SETTLE_CYCLES, STEP_CYCLES, post_latency
from systolith.hw.memory import banks_needed
from systolith.hw.memory_nest import MemoryNest
from systolith.hw.multiplier import delayed
from systolith.hw.shallow_lanes import ShallowLanes, ShallowParameters

__all__ = ["ShallowPost"]


class ShallowPost(wiring.Component):
    """``PostEngine`` with one lane: a group is one column of a store, with its own parameters.

    A store is given back after its last column, or with the nest's last group.

    Attributes
    ----------
    lanes : ShallowLanes
        The arithmetic, beside the engine as there.

    Members
    -------
    As ``PostEngine``.
    """

    def __init__(self, config: Config):
        self.config = c = config
        self.lanes = ShallowLanes(c)
        super().__init__(post_members(c))

    def elaborate(self, platform) -> Module:
        m = Module()
        c, lanes = self.config, self.lanes
        m.submodules.descriptor = d = Descriptor(c, Engine.POST)
        m.submodules.walker = walker = MemoryNest(
            c, Engine.POST, base="WRITE_BASE", jump="WRITE_JUMP", levels=POST_LOOPS,
            width=c.address_bits)
        d.attach(m, walker)
        connect(m, flipped(self.descriptor), d.port)
        accept = Signal()
        bounds, zeros = d.view("BOUNDS"), d.view("ZEROS")
        m.d.comb += [
            d.completed.eq(self.completed), self.idle.eq(d.idle & ~d.pending),
            walker.step.eq(accept), self.drain_address.eq(walker.acc),
            lanes.start.eq(accept), lanes.drained.eq(self.drained),
            lanes.fill.eq(d.view("CONTROL").fill), lanes.zero.eq(zeros.result),
            lanes.low.eq(bounds.low), lanes.high.eq(bounds.high),
        ]
        self._control(m, d, walker, accept, *self._parameters(m, d, walker))
        self._results(m, d, walker, accept)
        return m

    def _parameters(self, m, d, walker):
        """Read a channel's words from the next cycle on; return what begins and what ends it."""
        c, lanes, port = self.config, self.lanes, self.memory
        fetch, last = Signal(), Signal()
        address = Signal(c.word_address_bits)
        asked, coming = Signal(3), Signal(3)     # which of the words, if any
        word = port.data.as_value()
        m.d.comb += [
            port.valid.eq(asked.any()), port.address.eq(address << c.lane_bits),
            port.need.eq(banks_needed(c, port.address, vector=False)),
            last.eq(port.grant & asked[2]),
        ]
        m.d.sync += coming.eq(Mux(port.grant, asked, 0))
        with m.If(walker.start):
            m.d.sync += address.eq(d.view("PARAM_BASE").address[c.lane_bits:])
        with m.Elif(port.grant):
            m.d.sync += address.eq(address + 1)
        with m.If(fetch):
            m.d.sync += asked.eq(1)
        with m.Elif(port.grant):
            m.d.sync += asked.eq(asked << 1)
        kept = Signal(lanes.parameters.shape(), reset_less=True)
        values = ({"less": word[:c.accumulator_bits] - 1}, {"factor": word[:31]},
                  ShallowParameters.of_shifts(word))
        for i, fields in enumerate(values):
            with m.If(coming[i]):
                m.d.sync += [kept[name].eq(value) for name, value in fields.items()]
        m.d.comb += lanes.parameters.eq(kept)
        return fetch, last

    def _control(self, m, d, walker, accept, fetch, last):
        """Sequence nests, groups and steps."""
        control, columns = d.view("CONTROL"), self.config.columns
        final = walker.at_last.all()
        group_end = ~control.fill & walker.ends(control.group_level)
        store_end = group_end & ((self.lanes.column == columns - 1) | final)
        full = Signal(2)
        for s in range(2):
            m.d.comb += self.release[s].eq(accept & store_end & (self.drain_store == s))
            with m.If(self.filled[s]):
                m.d.sync += full[s].eq(1)
            with m.Elif(self.release[s]):
                m.d.sync += full[s].eq(0)

        # the last sum of a group is read a cycle after its step: then the next one is picked
        done, shared = Signal(), Signal()
        m.d.sync += [done.eq(accept & group_end), shared.eq(accept & group_end & ~store_end)]
        with m.If(done):
            m.d.sync += self.lanes.column.eq(Mux(shared, self.lanes.column + 1, 0))
        with m.If(accept & store_end):
            m.d.sync += self.drain_store.eq(~self.drain_store)

        there = Signal()                         # the store can be drained
        m.d.comb += there.eq(control.fill | full.bit_select(self.drain_store, 1))
        turn = Signal()                          # the lane takes a sum every second cycle
        m.d.sync += turn.eq(accept)
        settling = Signal(range(post_latency(self.config) + 1))
        with m.If(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [d.idle.eq(1), d.take.eq(d.ready)]
                with m.If(d.ready):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += walker.start.eq(d.start)
                m.next = "GROUP"
            with m.State("GROUP"):
                with m.If(settling == 0):
                    with m.If(control.reload & ~control.fill):
                        m.d.comb += fetch.eq(1)
                        m.next = "FETCH"
                    with m.Elif(there):
                        m.next = "RUN"
            with m.State("FETCH"):
                with m.If(last):
                    m.next = "WAIT"
                    with m.If(there):
                        m.next = "RUN"
            with m.State("WAIT"):
                with m.If(there):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += accept.eq(~turn)
                with m.If(accept):
                    with m.If(final):
                        m.d.sync += settling.eq(post_latency(self.config))
                        m.next = "FLUSH"
                    with m.Elif(group_end):
                        m.d.sync += settling.eq(SETTLE_CYCLES - 1)
                        m.next = "GROUP"
            with m.State("FLUSH"):
                with m.If(settling == 0):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"

    def _results(self, m, d, walker, accept):
        """Remember where each result goes until the lane delivers it."""
        lanes, control = self.lanes, d.view("CONTROL")
        # bits that no instruction needs would cost the UP5K a block RAM of its program memory
        filled = control.valid[:self.config.lane_bits + 1]
        # a step every second cycle: each place is good for so long
        target, step = walker.address, accept
        for place in range(0, post_latency(self.config), STEP_CYCLES):
            later = Signal.like(target, name=f"target{place}", reset_less=True)
            with m.If(step):
                m.d.sync += later.eq(target)
            target, step = later, delayed(m, step, STEP_CYCLES, f"step{place}_")
        m.d.comb += [lanes.first.eq(walker.from_level >= control.pool_level),
                     lanes.last.eq(walker.ends(control.pool_level)),
                     self.write.data.eq(lanes.data), self.write.address.eq(target),
                     *(self.write.mask[i].eq(lanes.valid & (control.fill & (filled > i) | (i == 0)))
                       for i in range(self.config.lanes))]
