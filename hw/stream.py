"""The STREAM engine: fetches vectors, lets each into the array when tile and store are there."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.accumulator import entry_layout
from systolith.hw.config import Config
from systolith.hw.descriptor import Descriptor, descriptor_port
from systolith.hw.drain import Drain
from systolith.hw.fetch import FetchQueue
from systolith.hw.isa import STREAM_LOOPS, Engine
from systolith.hw.latency import accumulate_cycles
from systolith.hw.memory import read_port
from systolith.hw.nest import NestWalker
from systolith.hw.window import Window, WindowTag

__all__ = ["StreamEngine", "VectorTag"]


class VectorTag(data.Struct):
    """What the nest knows of a vector, besides its address."""

    #: First vector of a pass: the next tile becomes active.
    swap: unsigned(1)
    #: First pass of a group: sums replace.
    clear: unsigned(1)
    #: First and last vector of a group.
    first: unsigned(1)
    last: unsigned(1)
    #: How many vectors before, the latest went that adds to the accumulator this one adds to;
    #: 0: long ago, or this one does not add where it enters.
    distance: unsigned(2)


class WindowTurn(data.Struct):
    """How a vector waits for the window unit."""

    #: It claims the next tile for windows.
    claims: unsigned(1)
    #: It does not enter while the unit holds pixels.
    patient: unsigned(1)


class OperandTag(data.Struct):
    """What the nest knows of a vector on a training device."""

    #: It meets an operand, not a tile; it is the last one of its pass.
    outer: unsigned(1)
    ends: unsigned(1)
    #: Elements that count.
    kept: unsigned(6)


class StreamEngine(wiring.Component):
    """Walks STREAM nests and feeds the array.

    A vector enters when (a) it starts no pass or the next tile is ready, (b) it starts no group or
    its accumulator store is free, and (c) no sum is still on its way to the accumulator it adds to.

    The pixels of a window nest leave the FIFO by the same rules, into the window unit, and what
    comes out enters without further waiting. So (a) the tile must not be claimed by windows still
    to come, and (c) a pass that adds waits until the unit is empty. So does, to keep the order, a
    vector that enters directly.

    A vector of an outer product needs no tile but an operand. Behind the last one of a pass the
    array drains; until it has, nothing enters. Nor does it between other vectors and the first one.

    Members
    -------
    descriptor : :py:`In(descriptor_port(config, Engine.STREAM))`
    completed : :py:`In(ArrayLayout(token_bits, 3))`
    memory : :py:`Out(read_port(config))`
    tile_ready, swap : In, Out
        The loader's handshake (see ``LoadEngine``).
    release : :py:`In(2)`
        Pulse per accumulator store: POST has read it.
    vector, vector_swap : Out
        To the array, with ``entry.valid``.
    taps, use_taps : Out
        To the array, only with ``config.window``.
    entry : :py:`Out(entry_layout(config))`
        To the accumulator stores.
    operand_ready, operand_take, operand : In, Out, In
        The loader's handshake of second operands, only with ``config.training``.
    enters, gather, drain, second : Out
        To the array: a vector, one of an outer product, the first cycle that drains, and the second
        operand. Only with ``config.training``.
    finished, idle : :py:`Out(1)`
        A nest's last vector has been requested; nothing is pending, walking or queued.
    """

    def __init__(self, config: Config):
        self.config = c = config
        element = signed(c.operand_bits)
        members = {
            "descriptor": In(descriptor_port(c, Engine.STREAM)),
            "completed": In(data.ArrayLayout(c.token_bits, len(Engine))),
            "memory": Out(read_port(c)), "tile_ready": In(1), "swap": Out(1), "release": In(2),
            "vector": Out(data.ArrayLayout(element, c.rows)), "vector_swap": Out(1),
            "entry": Out(entry_layout(c)), "finished": Out(1), "idle": Out(1),
        }
        if c.window:
            members["taps"] = Out(data.ArrayLayout(data.ArrayLayout(element, c.columns), 9))
            members["use_taps"] = Out(1)
        if c.training:
            operand = data.ArrayLayout(element, c.columns)
            members |= {"operand_ready": In(1), "operand_take": Out(1), "operand": In(operand),
                        "enters": Out(1), "gather": Out(1), "drain": Out(1),
                        "second": Out(operand)}
        super().__init__(members)
        fields = {"address": unsigned(c.acc_address_bits), "vector": VectorTag}
        if c.window:
            fields |= {"window": WindowTag, "turn": WindowTurn}
        if c.training:
            fields["operand"] = OperandTag
        self.tag_layout = data.StructLayout(fields)
        self.arrival_layout = data.StructLayout({"entry": entry_layout(c), "swap": 1})

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        m.submodules.descriptor = d = Descriptor(c, Engine.STREAM)
        m.submodules.walker = walker = self._walker(m, d)
        elements = max(c.rows, c.columns) if c.window else c.rows
        m.submodules.queue = queue = FetchQueue(
            c, width=elements * c.operand_bits, tag_width=self.tag_layout.size,
            depth=c.fifo_depth, vector=True)
        connect(m, flipped(self.descriptor), d.port)
        connect(m, queue.memory, flipped(self.memory))
        self._walk(m, d, walker, queue)
        held = self._enter(m, queue)
        m.d.comb += self.idle.eq(d.idle & ~d.pending & ~queue.valid & ~held)
        return m

    def _walker(self, m, d):
        """Return what walks the nests, connected to the descriptor."""
        c = self.config
        walker = NestWalker(levels=STREAM_LOOPS, tracks={"address": c.address_bits,
                                                         "acc": c.acc_address_bits})
        # sums of outer products are drained from the last row's on
        last_row = d.view("OPERANDS").outer.replicate(c.acc_address_bits) & (c.rows - 1) \
            if c.training else 0
        m.d.comb += [walker.base_address.eq(d.view("BASE").address),
                     walker.base_acc.eq(d.view("CONTROL").acc_base + last_row)]
        for i in range(STREAM_LOOPS):
            loop = d.view(f"LOOP{i}")
            m.d.comb += [walker.last[i].eq(loop.last), walker.jump_acc[i].eq(loop.acc_jump),
                         walker.jump_address[i].eq(d.view(f"JUMP{i}").jump)]
        return walker

    def _walk(self, m, d, walker, queue):
        """Walk nests and tag their vectors."""
        control = d.view("CONTROL")
        coming, walking, first_pass = Signal(), Signal(), Signal()
        tag = Signal(self.tag_layout)
        final = walker.at_last.all()
        m.d.comb += [
            coming.eq(d.taken | d.start | walker.coming), walking.eq(coming | walker.valid),
            d.idle.eq(~walking), d.take.eq(d.ready & ~coming & (~walker.valid | queue.accepted)),
            d.completed.eq(self.completed), walker.start.eq(d.start),
            walker.step.eq(queue.accepted), self.finished.eq(walker.valid & queue.accepted & final),
            queue.want.eq(walker.valid), queue.address.eq(walker.address), queue.tag.eq(tag),
            # loops inside from_level are at their first, inside to_level at their last iteration
            tag.address.eq(walker.acc),
            tag.vector.swap.eq(walker.from_level >= control.pass_level),
            tag.vector.first.eq(walker.from_level >= control.group_level),
            tag.vector.clear.eq((first_pass & ~tag.vector.swap | tag.vector.first) & ~control.keep),
            tag.vector.last.eq(walker.ends(control.group_level) & ~(control.hold & final)),
        ]
        window = control.window if self.config.window else 0
        m.d.comb += tag.vector.distance.eq(Mux(
            tag.vector.clear | window, 0, self._distance(m, walker, queue, window)))
        with m.If(queue.accepted & tag.vector.swap):
            m.d.sync += first_pass.eq(tag.vector.first)
        if self.config.training:
            operands = d.view("OPERANDS")
            at_tail = walker.at_last.bit_select(operands.tail_level, 1)
            m.d.comb += [tag.operand.outer.eq(operands.outer),
                         tag.operand.ends.eq(walker.ends(control.pass_level)),
                         tag.operand.kept.eq(Mux(at_tail, operands.tail, self.config.rows))]
            with m.If(operands.outer):           # every pass has sums of its own
                m.d.comb += [tag.vector.distance.eq(0), tag.vector.clear.eq(~control.keep)]
        if self.config.window:
            narrow = Signal(reset_less=True)     # a row is shorter than the unit's pipeline
            m.d.sync += narrow.eq(d.view("LOOP0").last < Window.LATENCY - 1)
            m.d.comb += [
                tag.turn.claims.eq(window & tag.vector.swap),
                tag.turn.patient.eq(~window | narrow | tag.vector.swap & ~tag.vector.clear),
                tag.window.window.eq(window), tag.window.row_end.eq(walker.at_last[0]),
                tag.window.rows.eq(control.window_rows),
                tag.window.columns.eq(control.window_columns),
                tag.window.stride_y.eq(control.stride_y), tag.window.stride_x.eq(control.stride_x),
            ]

    def _distance(self, m, walker, queue, window):
        """Return how close before an addition to the same accumulator may be, 0 for not at all.

        Windows are taken for clashes: where they add is not known yet.
        """
        cycles = accumulate_cycles(self.config)
        distance = Signal(range(cycles))
        before = [Signal(1 + len(walker.acc), name=f"before{i}", reset_less=True)
                  for i in range(1, cycles)]
        with m.If(queue.accepted):
            m.d.sync += [later.eq(now) for now, later in
                         zip([Cat(window, walker.acc), *before[:-1]], before, strict=True)]
        for i, entry in reversed(list(enumerate(before, 1))):
            with m.If(entry[0] | (entry[1:] == walker.acc)):
                m.d.comb += distance.eq(i)
        return distance

    def _enter(self, m, queue):
        """Let the oldest vector in, directly or by the window unit; return if that holds any."""
        c = self.config
        tag = data.View(self.tag_layout, queue.data_tag)
        flags = tag.vector
        allowed, blocked = Signal(), Signal()
        store, open_or_free = self._stores(m, allowed & flags.first, allowed & flags.last)
        matched = ~flags.swap | self.tile_ready
        if c.training:
            matched = Mux(tag.operand.outer, self.operand_ready, matched)
        m.d.comb += [
            allowed.eq(queue.valid & ~blocked & matched & (~flags.first | open_or_free)),
            queue.take.eq(allowed),
        ]

        leaving, arriving = Signal(self.arrival_layout), Signal(self.arrival_layout)
        m.d.comb += [
            leaving.entry.valid.eq(allowed), leaving.entry.address.eq(tag.address),
            leaving.entry.clear.eq(flags.clear), leaving.entry.store.eq(store),
            leaving.entry.end.eq(allowed & flags.last), leaving.swap.eq(allowed & flags.swap),
        ]
        # no sum of the latest entries may still be on its way to this vector's accumulator
        recent, hazard = Signal(accumulate_cycles(c) - 1, reset_less=True), Signal()
        m.d.sync += recent.eq(Cat(arriving.entry.valid, recent))
        entered = sum(recent[i] for i in range(len(recent)))
        m.d.comb += hazard.eq((flags.distance != 0) & (entered >= flags.distance))
        if c.window:
            held = self._window(m, queue, leaving, arriving, blocked, hazard)
        elif c.training:
            held = self._outer(m, tag, allowed, leaving, arriving, blocked, hazard)
        else:
            m.d.comb += [arriving.eq(leaving), blocked.eq(hazard)]
            held = 0
        m.d.comb += self.swap.eq(arriving.swap)
        # what enters the array is registered once on its way
        entry, swap = Signal.like(self.entry, reset_less=True), Signal(reset_less=True)
        vector = Signal.like(self.vector, reset_less=True)
        kept = queue.data
        if c.training:
            kept = Cat(word & (i < tag.operand.kept).replicate(len(word)) for i, word in enumerate(
                queue.data[i:i + c.operand_bits] for i in range(0, len(queue.data),
                                                                c.operand_bits)))
        m.d.sync += [entry.eq(arriving.entry), swap.eq(arriving.swap), vector.as_value().eq(kept)]
        m.d.comb += [self.entry.eq(entry), self.vector_swap.eq(swap), self.vector.eq(vector)]
        return held

    def _stores(self, m, begins, ends):
        """Return which store is next, and whether its group is open or can be opened.

        That is looked up a cycle ahead: what decides on a vector has little time.
        """
        store, group_open, open_or_free = Signal(), Signal(), Signal(init=1)
        owned, kept = Signal(2), Signal(2)
        m.d.comb += kept.eq(owned & ~self.release)
        m.d.sync += [owned.eq(kept), open_or_free.eq(group_open | ~kept.bit_select(store, 1))]
        with m.If(begins):
            m.d.sync += [owned.bit_select(store, 1).eq(1), group_open.eq(1), open_or_free.eq(1)]
        with m.If(ends):
            m.d.sync += [group_open.eq(0), store.eq(~store),
                         open_or_free.eq(~kept.bit_select(~store, 1))]
        return store, open_or_free

    def _outer(self, m, tag, allowed, leaving, arriving, blocked, hazard):
        """Let vectors of outer products in, and what drains their sums; return if it does."""
        outer = tag.operand.outer
        m.submodules.drain = drain = Drain(self.config)
        # the sums of the vector before are still on their way down
        behind = Signal()
        m.d.sync += behind.eq(allowed & ~outer)
        m.d.comb += [
            drain.start.eq(allowed & outer & tag.operand.ends), drain.first.eq(leaving.entry),
            blocked.eq(hazard | drain.busy | (outer & behind)),
            self.operand_take.eq(allowed & outer), arriving.eq(leaving),
        ]
        with m.If(outer | drain.busy):
            m.d.comb += [arriving.swap.eq(0), arriving.entry.eq(drain.entry)]
        m.d.sync += [self.gather.eq(allowed & outer), self.drain.eq(drain.begins),
                     self.enters.eq(allowed), self.second.eq(self.operand)]
        return drain.busy

    def _window(self, m, queue, leaving, arriving, blocked, hazard):
        """Send pixels through the window unit, vectors past it; return whether it holds any."""
        tag = data.View(self.tag_layout, queue.data_tag)
        m.submodules.window = unit = Window(self.config)
        through = Signal(self.arrival_layout)
        # a tile claimed by a pixel is not swapped in before the first window of its pass
        claimed = Signal()
        m.d.comb += [
            blocked.eq(tag.turn.claims & claimed | tag.turn.patient & unit.busy | hazard),
            unit.valid.eq(leaving.entry.valid & tag.window.window), unit.tag.eq(tag.window),
            unit.first.eq(tag.vector.swap), unit.pixel.as_value().eq(queue.data),
            self.taps.eq(unit.taps),
            arriving.eq(Mux(tag.window.window | unit.busy, through, leaving)),
        ]
        with m.If(unit.valid & leaving.swap):
            m.d.sync += claimed.eq(1)
        with m.Elif(arriving.swap):
            m.d.sync += claimed.eq(0)
        m.d.sync += self.use_taps.eq(unit.busy)
        self._emerge(m, unit, leaving, through)
        return unit.busy

    def _emerge(self, m, unit, leaving, through):
        """Turn what a pixel took along into what the window it completes is entered with."""
        taken = leaving
        for i in range(unit.LATENCY):
            later = Signal.like(leaving, name=f"taken{i}", reset_less=True)
            m.d.sync += later.eq(taken)
            taken = later
        owes, still_owes = Signal(), Signal()
        address, next_address = Signal.like(taken.entry.address), Signal.like(taken.entry.address)
        m.d.comb += [
            owes.eq(taken.swap | still_owes),
            address.eq(Mux(taken.swap, taken.entry.address, next_address)),
            through.eq(taken), through.entry.address.eq(address),
            through.entry.valid.eq(unit.complete), through.swap.eq(unit.complete & owes),
            through.entry.end.eq(unit.passing & taken.entry.end),
        ]
        with m.If(unit.passing):
            m.d.sync += [still_owes.eq(owes & ~unit.complete),
                         next_address.eq(address + unit.complete)]
