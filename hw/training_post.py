"""The POST engine of a training device: an operand and a mask from memory, a record, a range.

A nest of losses has the same loops, reads and results, and the loss unit where others have lanes.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import connect, flipped

from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor
from systolith.hw.engine_ports import post_members
from systolith.hw.isa import POST_LOOPS, Engine
from systolith.hw.latency import DRAIN_LATENCY, FLUSH_CYCLES, PLACE_LEAD, post_read_latency
from systolith.hw.memory import banks_needed
from systolith.hw.multiplier import delayed
from systolith.hw.nest import NestWalker
from systolith.hw.softmax import Softmax
from systolith.hw.training_lanes import TrainingLanes

__all__ = ["TrainingPost"]

#: Results under way between the walker and memory, at most.
_WRITE_QUEUE = 32


class TrainingPost(wiring.Component):
    """Walks POST nests: group by group, waits for the accumulators, reads operands, drains.

    A step is accepted with its last read; its sums are read ``age`` cycles later, when its operands
    have come.

    Attributes
    ----------
    lanes : TrainingLanes
        The arithmetic: this engine drives it, but it stands beside the engine, as a submodule of
        the core, because it needs no reset.

    Members
    -------
    As :class:`systolith.hw.post.PostEngine`.
    """

    def __init__(self, config: Config):
        self.config = c = config
        self.lanes = TrainingLanes(c)
        #: From accepting a step to its operands, side by side in registers.
        self.age = post_read_latency(c) + 1
        super().__init__(post_members(c))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.descriptor = d = Descriptor(self.config, Engine.POST)
        connect(m, flipped(self.descriptor), d.port)
        m.submodules.walker = walker = self._walker(m, d)
        accept, running = Signal(), Signal()
        m.d.comb += [d.completed.eq(self.completed), self.idle.eq(d.idle & ~d.pending),
                     walker.step.eq(accept)]
        m.submodules.loss = loss = Softmax()
        delivered = Signal()                     # the loss unit's last gradient of a sample was
        m.d.sync += delivered.eq(loss.o.valid & loss.o.payload.last)
        self._operands(m, d, walker, running, accept, delivered)
        outstanding = self._results(m, d, walker, accept, loss, delivered)
        self._control(m, d, walker, running, accept, outstanding)
        self._step(m, d, walker, accept, loss)
        return m

    def _walker(self, m, d):
        """Return what walks the nests, connected to the descriptor."""
        c, control = self.config, d.view("CONTROL")
        bits = c.address_bits
        walker = NestWalker(levels=POST_LOOPS, tracks={
            "acc": c.acc_address_bits, "address": bits, "residual": bits, "mask": bits})
        mask = Signal(bits, reset_less=True)     # masks lie as results do
        m.d.sync += mask.eq(d.view("WRITE_BASE").address + d.view("MASK_DELTA").jump)
        m.d.comb += [walker.base_acc.eq(control.acc_base), walker.base_mask.eq(mask),
                     walker.base_address.eq(d.view("WRITE_BASE").address),
                     walker.base_residual.eq(d.view("RESIDUAL_BASE").address)]
        for i in range(POST_LOOPS):
            loop, jump = d.view(f"LOOP{i}"), d.view(f"WRITE_JUMP{i}").jump
            m.d.comb += [
                walker.last[i].eq(loop.last), walker.jump_acc[i].eq(loop.acc_jump),
                walker.jump_address[i].eq(jump), walker.jump_mask[i].eq(jump),
                walker.jump_residual[i].eq(d.view(f"RESIDUAL_JUMP{i}").jump)]
        return walker

    def _operands(self, m, d, walker, running, accept, delivered):
        """Read what a step needs, one after the other; the step is accepted with the last read."""
        control, form, memory = d.view("CONTROL"), d.view("ROUNDING"), self.memory
        both, second, paused = Signal(), Signal(), Signal()
        masks = Signal()                         # the read under way is the mask's
        m.d.comb += [
            both.eq(control.residual & form.masked), masks.eq(form.masked & (second | ~both)),
            memory.valid.eq(running & ~paused & (control.residual | form.masked)),
            memory.address.eq(Mux(masks, walker.mask, walker.residual)),
            memory.need.eq(banks_needed(self.config, memory.address, vector=True)),
            accept.eq(running & ~paused & Mux(memory.valid, memory.grant & (~both | second), 1)),
        ]
        with m.If(memory.valid & memory.grant):
            m.d.sync += second.eq(both & ~second)
        # a record is written in the cycle behind its result: windows of one step leave it room;
        # and the loss unit takes the next sample when it has delivered one
        ends = walker.ends(control.pool_level)
        single = (walker.from_level >= control.pool_level) & ends
        m.d.sync += paused.eq(Mux(form.loss, (paused & ~delivered) | (accept & ends),
                                  accept & form.recording & single))

        for name, asked in (("operand", ~masks), ("mask", masks)):
            comes = delayed(m, memory.valid & memory.grant & asked, post_read_latency(self.config),
                            f"{name}_comes")
            with m.If(comes):
                m.d.sync += getattr(self.lanes, name).eq(memory.data)

    def _step(self, m, d, walker, accept, loss):
        """Hand a step to the lanes or to the loss unit when its operands are there."""
        lanes = self.lanes
        control, form = d.view("CONTROL"), d.view("ROUNDING")
        m.d.comb += [
            lanes.left.eq(form.left), lanes.right.eq(form.right), lanes.rectify.eq(form.rectify),
            lanes.stochastic.eq(form.stochastic), lanes.masked.eq(form.masked),
            lanes.comparing.eq(form.comparing), lanes.adding.eq(control.residual & ~form.comparing),
            lanes.turn.eq(form.turn), lanes.seed.eq(d.view("SEED").word),
            lanes.place.eq(delayed(m, walker.address, self.age - PLACE_LEAD, "place")),
            lanes.start.eq(delayed(m, accept & ~form.loss, self.age, "accepted")),
            lanes.first.eq(delayed(m, walker.from_level >= control.pool_level, self.age, "first")),
            lanes.last.eq(delayed(m, self._written(d, walker), self.age, "last")),
            lanes.counted.eq(delayed(m, self._counted(d, walker), self.age, "counted")),
            self.drain_address.eq(delayed(m, walker.acc, self.age - DRAIN_LATENCY, "acc")),
            lanes.sums.eq(self.drained),
            loss.i.valid.eq(delayed(m, accept & form.loss, self.age, "offered")),
            loss.i.payload.value.eq(lanes.operand[0]), loss.i.payload.last.eq(lanes.last),
            loss.label.eq(lanes.mask[0]), loss.shift.eq(form.right), loss.o.ready.eq(1),
        ]

    def _written(self, d, walker):
        """Return whether a step writes a result."""
        return walker.ends(d.view("CONTROL").pool_level) | d.view("ROUNDING").comparing

    def _mask(self, d, walker):
        """Return the lanes whose results are written."""
        control = d.view("CONTROL")
        outer = Cat(i >= control.group_level for i in range(POST_LOOPS))
        last_group = (walker.at_last | ~outer).all()
        return Cat((lane < control.valid) | ~(last_group | control.fill)
                   for lane in range(self.config.columns))

    def _counted(self, d, walker):
        """Return the lanes whose results enter the range."""
        counts = d.view("ROUNDING").counted & ~d.view("CONTROL").fill
        return self._mask(d, walker) & counts.replicate(self.config.columns)

    def _control(self, m, d, walker, running, accept, outstanding):
        """Sequence nests and groups; report."""
        control, form = d.view("CONTROL"), d.view("ROUNDING")
        store, full, released = Signal(), Signal(2), Signal(2)
        group_end = ~control.fill & walker.ends(control.group_level)
        for s in range(2):
            m.d.comb += released[s].eq(accept & group_end & (store == s))
            with m.If(self.filled[s]):
                m.d.sync += full[s].eq(1)
            with m.Elif(released[s]):
                m.d.sync += full[s].eq(0)
        with m.If(accept & group_end):
            m.d.sync += store.eq(~store)
        reading = self.age - DRAIN_LATENCY
        m.d.comb += [self.release.eq(delayed(m, released, reading, "released")),
                     self.drain_store.eq(delayed(m, store, reading, "store"))]

        left = Signal(range(FLUSH_CYCLES + 1))
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [d.idle.eq(1), d.take.eq(d.ready)]
                with m.If(d.ready):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += walker.start.eq(d.start)
                with m.If(d.start):
                    m.next = "GROUP"
            with m.State("GROUP"):
                with m.If(control.fill | full.bit_select(store, 1)):
                    m.d.sync += running.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                with m.If(accept & walker.at_last.all()):
                    m.d.sync += [running.eq(0), left.eq(FLUSH_CYCLES)]
                    m.next = "FLUSH"
                with m.Elif(accept & group_end):
                    m.d.sync += running.eq(0)
                    m.next = "GROUP"
            with m.State("FLUSH"):
                with m.If((outstanding == 0) & (left != 0)):
                    m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.next = "REPORT"
            with m.State("REPORT"):
                with m.If(form.report):
                    m.d.comb += self.lanes.clear.eq(1)
                    self._write(m, d.view("REPORT_BASE").address, 7, (
                        self.lanes.bits, self.lanes.saturated[:16], self.lanes.saturated[16:]))
                m.next = "END"
            with m.State("END"):
                m.d.comb += self.finished.eq(1)
                m.next = "IDLE"

    def _results(self, m, d, walker, accept, loss, delivered):
        """Remember where each result goes until it is delivered, its record behind it.

        The result of a sample is what its loss is made of, its record the gradient, which is
        there before it. Returns how many are under way.
        """
        c, lanes, form = self.config, self.lanes, d.view("ROUNDING")
        outstanding, written, comes = Signal(range(_WRITE_QUEUE + 1)), Signal(), Signal()
        target = Cat(walker.address, self._mask(d, walker))
        m.submodules.targets = targets = SyncFIFOBuffered(width=len(target),
                                                          depth=_WRITE_QUEUE + 1)
        entering = Signal.like(targets.w_data, reset_less=True)
        m.d.comb += [written.eq(accept & self._written(d, walker)),
                     comes.eq(lanes.valid | delivered)]
        m.d.sync += [targets.w_en.eq(written), entering.eq(target),
                     outstanding.eq(outstanding + written - comes)]
        m.d.comb += [targets.w_data.eq(entering), targets.r_en.eq(comes)]
        address, mask = targets.r_data[:c.address_bits], targets.r_data[c.address_bits:]

        gradient = Signal(c.address_bits, reset_less=True)
        with m.If(d.start):
            m.d.sync += gradient.eq(d.view("WRITE_BASE").address + d.view("RECORD_DELTA").jump)
        with m.Elif(loss.o.valid):
            m.d.sync += gradient.eq(gradient + 1)
        beside, record = Signal(), Signal(c.address_bits, reset_less=True)
        marked, taps = (Signal.like(value, reset_less=True) for value in (mask, lanes.record))
        m.d.sync += [beside.eq(lanes.valid & form.recording), marked.eq(mask),
                     record.eq(address + d.view("RECORD_DELTA").jump), taps.eq(lanes.record)]
        with m.If(lanes.valid):
            self._write(m, address, mask, [Mux(d.view("CONTROL").fill, 0, element)
                                           for element in lanes.data])
        with m.Elif(beside):
            self._write(m, record, marked, taps)
        with m.Elif(delivered):
            self._write(m, address, mask, (loss.sum[:16], Cat(loss.sum[16:31], loss.right),
                                           loss.behind))
        with m.Elif(loss.o.valid):
            self._write(m, gradient, 1, (loss.o.payload.value,))
        return outstanding

    def _write(self, m, address, mask, elements):
        """Write some lanes."""
        m.d.comb += [self.write.address.eq(address), self.write.mask.eq(mask)]
        for lane, element in enumerate(elements):
            m.d.comb += self.write.data[lane].eq(element)
