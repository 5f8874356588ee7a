"""The POST engine: drains accumulators, finishes results and writes them to memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import connect, flipped

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor
from systolith.hw.engine_ports import post_members
from systolith.hw.isa import POST_LOOPS, Engine
from systolith.hw.latency import RESIDUAL_CYCLES, shared_cycles
from systolith.hw.memory import banks_needed
from systolith.hw.nest import NestWalker
from systolith.hw.parameters import ParameterStore
from systolith.hw.post_lanes import PostLanes
from systolith.hw.replica import copy_of

__all__ = ["PostEngine"]

#: Results under way between the walker and memory, at most.
_WRITE_QUEUE = 32


class PostEngine(wiring.Component):
    """Walks POST nests: group by group, waits for the accumulators, loads parameters, drains.

    Attributes
    ----------
    lanes : PostLanes
        The arithmetic: this engine drives it, but it stands beside the engine, as a submodule of
        the core, because it needs no reset.

    Members
    -------
    descriptor : :py:`In(descriptor_port(config, Engine.POST))`
    completed : :py:`In(ArrayLayout(token_bits, 3))`
    memory : :py:`Out(read_port(config))`
        Parameters and residual operands.
    write : :py:`Out(vector_write_port(config))`
    filled, release : :py:`In(2)`, :py:`Out(2)`
        Pulses per accumulator store: handed over; given back.
    drain_store, drain_address, drained : Out, Out, In
        To ``AccumulatorStores``.
    finished, idle : :py:`Out(1)`
        A nest's last result is on its way into memory; nothing is pending or running.
    """

    def __init__(self, config: Config):
        self.config = c = config
        self.lanes = PostLanes(c)
        super().__init__(post_members(c))

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        # what the lanes look at is beside them
        m.submodules.descriptor = d = Descriptor(c, Engine.POST, far=("ADD_", "BOUNDS", "ZEROS"))
        m.submodules.walker = walker = self._walker(m, d)
        m.submodules.parameters = parameters = ParameterStore(c)
        lanes = self.lanes
        connect(m, flipped(self.descriptor), d.port)

        # one step of one pixel: ``accept`` in the cycle its accumulators are addressed
        accept, running, outstanding = Signal(), Signal(), Signal(range(_WRITE_QUEUE + 1))
        goes = Signal()                          # it will be running
        due = Signal()                           # a step, unless memory refuses its operand
        m.d.comb += self.memory.need.eq(banks_needed(c, self.memory.address, vector=c.residual))
        m.d.comb += [
            d.completed.eq(self.completed), self.idle.eq(d.idle & ~d.pending),
            walker.step.eq(accept), lanes.start.eq(accept), accept.eq(due),
            self.drain_address.eq(walker.acc), lanes.drained.eq(self.drained),
        ]
        self._registers(m, d, lanes)
        self._memory(m, d, walker, parameters)
        m.d.sync += [running.eq(goes), due.eq(goes)]
        if c.residual:
            self._residual(m, d, walker, running, goes, due, accept)
        self._control(m, d, walker, parameters, running, goes, accept, outstanding)
        self._results(m, d, walker, accept, outstanding)
        return m

    def _walker(self, m, d):
        """Return what walks the nests, connected to the descriptor."""
        c = self.config
        tracks = {"acc": c.acc_address_bits, "address": c.address_bits}
        if c.residual:
            tracks["residual"] = c.address_bits
        walker = NestWalker(levels=POST_LOOPS, tracks=tracks)
        m.d.comb += [walker.base_acc.eq(d.view("CONTROL").acc_base),
                     walker.base_address.eq(d.view("WRITE_BASE").address)]
        for i in range(POST_LOOPS):
            loop = d.view(f"LOOP{i}")
            m.d.comb += [walker.last[i].eq(loop.last), walker.jump_acc[i].eq(loop.acc_jump),
                         walker.jump_address[i].eq(d.view(f"WRITE_JUMP{i}").jump)]
        return walker

    def _registers(self, m, d, lanes):
        control, bounds, zeros = d.view("CONTROL"), d.view("BOUNDS"), d.view("ZEROS")
        m.d.comb += [
            lanes.fill.eq(control.fill), lanes.zero.eq(zeros.result), lanes.low.eq(bounds.low),
            lanes.high.eq(bounds.high),
        ]

    def _memory(self, m, d, walker, parameters):
        """Fetch the parameters of a group."""
        c = self.config
        m.d.comb += [
            parameters.rewind.eq(walker.start),
            parameters.base.eq(d.view("PARAM_BASE").address[c.lane_bits:]),
            # the registered port refuses nothing
            parameters.granted.eq(1 if shared_cycles(c) else self.memory.grant),
            parameters.word.eq(self.memory.data.as_value()),
            self.memory.valid.eq(parameters.asking),
            self.memory.address.eq(parameters.address << c.lane_bits),
            self.lanes.parameters.eq(parameters.parameters),
        ]

    def _residual(self, m, d, walker, running, goes, due, accept):
        """Start a step only in the cycle in which its residual operand's read is granted."""
        lanes, control = self.lanes, d.view("CONTROL")
        add, sums = d.view("ADD_SCALE"), d.view("ADD_BOUNDS")
        scales = ("ADD_OPERAND", add.operand_shift), ("ADD_SUM", add.sum_shift)
        for i, (name, shift) in enumerate(scales):
            m.d.comb += [lanes.scales[i].multiplier.eq(d.view(name).multiplier),
                         lanes.scales[i].right.eq(shift)]
        for i in range(POST_LOOPS):
            m.d.comb += walker.jump_residual[i].eq(d.view(f"RESIDUAL_JUMP{i}").jump)
        m.d.comb += [
            walker.base_residual.eq(d.view("RESIDUAL_BASE").address),
            lanes.with_residual.eq(control.residual),
            lanes.scales_residual.eq(add.scales_residual),
            lanes.residual_zero.eq(d.view("ZEROS").residual),
            lanes.sum_zero.eq(add.zero_point), lanes.sum_low.eq(sums.low),
            lanes.sum_high.eq(sums.high),
            *(lanes.residual[i].eq(self.memory.data[i]) for i in range(self.config.post_lanes)),
        ]
        slots = Signal(RESIDUAL_CYCLES, init=1)
        adds = copy_of(m, control.residual, name="adds")    # the lanes are far: they have their own
        m.d.comb += lanes.next_slots.eq(Mux(adds & ~walker.start, slots.rotate_left(1), 1))
        m.d.sync += [slots.eq(lanes.next_slots), due.eq(goes & lanes.next_slots[0])]
        with m.If(running):
            m.d.comb += [self.memory.valid.eq(adds & due),
                         self.memory.address.eq(walker.residual)]
        if not shared_cycles(self.config):
            m.d.comb += accept.eq(due & (~adds | self.memory.grant))

    def _control(self, m, d, walker, parameters, running, goes, accept, outstanding):
        """Sequence nests and groups."""
        control = d.view("CONTROL")
        drains = ~control.fill
        group_end = drains & walker.ends(control.group_level)
        full = Signal(2)
        for s in range(2):
            m.d.comb += self.release[s].eq(accept & group_end & (self.drain_store == s))
            with m.If(self.filled[s]):
                m.d.sync += full[s].eq(1)
            with m.Elif(self.release[s]):
                m.d.sync += full[s].eq(0)
        with m.If(accept & group_end):
            m.d.sync += self.drain_store.eq(~self.drain_store)

        fetching = Signal()
        m.d.comb += [parameters.fetch.eq(fetching), goes.eq(running)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [d.idle.eq(1), d.take.eq(d.ready)]
                with m.If(d.ready):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += walker.start.eq(d.start)
                m.d.sync += fetching.eq(d.start & control.reload & drains)
                with m.If(d.start):
                    m.next = "GROUP"
            with m.State("GROUP"):
                with m.If(control.fill | full.bit_select(self.drain_store, 1)
                          & (~control.reload | parameters.ready)):
                    m.d.comb += goes.eq(1)
                    m.d.sync += fetching.eq(0)
                    m.next = "RUN"
            with m.State("RUN"):
                with m.If(accept):
                    with m.If(walker.at_last.all()):
                        m.d.comb += goes.eq(0)
                        m.next = "FLUSH"
                    with m.Elif(group_end):
                        m.d.comb += goes.eq(0)
                        m.d.sync += fetching.eq(control.reload)
                        m.next = "GROUP"
            with m.State("FLUSH"):
                with m.If(outstanding == 0):
                    m.d.comb += self.finished.eq(1)
                    m.next = "IDLE"

    def _results(self, m, d, walker, accept, outstanding):
        """Remember where each result goes until the lanes deliver it."""
        c, lanes, control = self.config, self.lanes, d.view("CONTROL")
        pool_end = walker.ends(control.pool_level)
        m.d.comb += [lanes.first.eq(walker.from_level >= control.pool_level),
                     lanes.last.eq(pool_end)]
        if c.post_steps > 1:
            with m.If(walker.start):
                m.d.sync += lanes.step.eq(0)
            with m.Elif(accept & pool_end):
                stepping = walker.to_level == control.pool_level
                m.d.sync += lanes.step.eq(Mux(stepping, lanes.step + 1, 0))

        outer = Cat(i >= control.group_level for i in range(POST_LOOPS))
        last_group = (walker.at_last | ~outer).all()
        column = Mux(control.fill, 0, lanes.step * c.post_lanes)
        mask = Cat((column + lane < control.valid) | ~(last_group | control.fill)
                   for lane in range(c.post_lanes))
        written = Signal()
        address, lanes_written = Signal(c.address_bits), Signal(c.post_lanes)
        m.d.comb += [
            written.eq(accept & pool_end),
            Cat(address, lanes_written).eq(self._kept(m, Cat(walker.address, mask), written)),
            self.write.address.eq(address), self.write.data.eq(lanes.data),
            self.write.mask.eq(Mux(lanes.valid, lanes_written, 0)),
        ]
        m.d.sync += outstanding.eq(outstanding + written - lanes.valid)

    def _kept(self, m, target, written):
        """Return the target of a result when the lanes deliver it."""
        m.submodules.targets = targets = SyncFIFOBuffered(width=len(target),
                                                          depth=_WRITE_QUEUE + 1)
        entering = Signal.like(targets.w_data, reset_less=True)
        m.d.sync += [targets.w_en.eq(written), entering.eq(target)]
        m.d.comb += [targets.w_data.eq(entering), targets.r_en.eq(self.lanes.valid)]
        return targets.r_data
