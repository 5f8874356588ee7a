"""The sequencer: fetches the program and hands descriptors to the engines."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.config import Config
from systolith.hw.descriptor import descriptor_port
from systolith.hw.host_port import program_write
from systolith.hw.isa import Engine, GoHeader, Op, Relocate, SetHeader
from systolith.hw.latency import AHEAD, FETCH_LATENCY
from systolith.hw.replica import copy_of

__all__ = ["Sequencer"]


class _Fetched(data.Struct):
    """A word of the program, and what it is if it is a header."""

    word: unsigned(32)
    sets: unsigned(1)
    goes: unsigned(1)
    ends: unsigned(1)
    engines: unsigned(len(Engine))               # one bit is set: that of the engine it is for


def _decoded(m, word):
    """Return a word with what it is."""
    fetched, header = Signal(_Fetched), data.View(SetHeader, word)
    engines = Cat(header.engine.as_value() == e.value for e in Engine)
    m.d.comb += [
        fetched.word.eq(word), fetched.engines.eq(engines),
        fetched.sets.eq((header.op == Op.SET) & engines.any() & (header.count != 0)),
        fetched.goes.eq((header.op == Op.GO) & engines.any()),
        fetched.ends.eq(header.op == Op.END),
    ]
    return fetched


class Sequencer(wiring.Component):
    """Runs the program once per ``start``, an instruction word a cycle unless an engine is full.

    Members
    -------
    program : :py:`In(program_write(config))`, ``program_valid`` : :py:`In(1)`
        Writes the program memory.
    start, parity, input_delta, output_delta : In
        A job; the deltas apply when ``parity`` is 1.
    <engine> : :py:`Out(descriptor_port)`
        ``load``, ``stream``, ``post``.
    finished, idle : :py:`In(3)`
        Per engine: a nest has finished; nothing is left to do.
    completed : :py:`Out(ArrayLayout(token_bits, 3))`
        Nests finished in this job, the tokens.
    busy, done, bad, pc : Out
        See ``host_port``.
    """

    def __init__(self, config: Config):
        self.config = c = config
        self.pc_bits = (c.program_words - 1).bit_length()
        super().__init__({
            "program": In(program_write(c)), "program_valid": In(1), "start": In(1),
            "parity": In(1), "input_delta": In(24), "output_delta": In(24),
            **{e.name.lower(): Out(descriptor_port(c, e)) for e in Engine},
            "finished": In(len(Engine)), "idle": In(len(Engine)),
            "completed": Out(data.ArrayLayout(c.token_bits, len(Engine))),
            "busy": Out(1), "done": Out(1), "bad": Out(1), "pc": Out(self.pc_bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        ports = [getattr(self, e.name.lower()) for e in Engine]
        fetch = self._fetch_next if self.config.shallow else self._fetch
        fetched, there, consume = fetch(m)
        word = fetched.word

        engines = Signal(len(Engine))            # that of the SET under way
        index, left = Signal(6, reset_less=True), Signal(6, reset_less=True)
        # added to the address in its first word; bits that there are not cost the UP5K an adder
        offset = Signal(self.config.address_bits if self.config.shallow else 24, reset_less=True)
        moves = Signal(reset_less=True)          # deep: this word is it
        accepts = self._accepts(m, ports)
        header, go = data.View(SetHeader, word), data.View(GoHeader, word)
        writes = Signal()
        m.d.comb += [port.token.eq(go) for port in ports]
        self._write_registers(m, ports, Mux(writes, engines, 0), index,
                              self._moved(word, offset, moves))

        idle = Signal()                          # in the last cycle, and no GO in it
        m.d.sync += idle.eq(self.idle.all() & ~Cat(port.go for port in ports).any())
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.next = "HEADER"
            with m.State("HEADER"), m.If(there):
                m.d.sync += [engines.eq(fetched.engines), index.eq(header.first),
                             left.eq(header.count - 1),
                             offset.eq(self._offset(m, header.relocate)), moves.eq(1)]
                with m.If(fetched.sets):
                    m.d.comb += consume.eq(1)
                    m.next = "DATA"
                with m.Elif(fetched.goes):
                    with m.If((fetched.engines & accepts).any()):
                        m.d.comb += consume.eq(1)
                        for i, port in enumerate(ports):
                            m.d.comb += port.go.eq(fetched.engines[i])
                with m.Elif(fetched.ends):
                    with m.If(idle):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
                with m.Else():
                    m.next = "BAD"
            with m.State("DATA"):
                with m.If(there & (engines & accepts).any()):
                    m.d.comb += [consume.eq(1), writes.eq(1)]
                    m.d.sync += [index.eq(index + 1), left.eq(left - 1), moves.eq(0)]
                    if self.config.shallow:
                        m.d.sync += offset.eq(0)
                    with m.If(left == 0):
                        m.next = "HEADER"
            with m.State("BAD"):
                m.d.comb += self.bad.eq(1)
                m.next = "HALT"
            with m.State("HALT"):                # until reset
                pass

        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.Elif(self.done):
            m.d.sync += self.busy.eq(0)
        for i in range(len(Engine)):
            with m.If(self.start):
                m.d.sync += self.completed[i].eq(0)
            with m.Elif(self.finished[i]):
                m.d.sync += self.completed[i].eq(self.completed[i] + 1)
        return m

    def _accepts(self, m, ports):
        """Return which engines take another word.

        They are far away: deep pipelines look at them a cycle later, but at once at a GO.
        """
        accepts = Cat(port.accept for port in ports)
        if self.config.shallow:
            return accepts
        seen = Signal.like(accepts, init=-1)
        m.d.sync += seen.eq(accepts & ~Cat(port.go for port in ports))
        return seen

    def _write_registers(self, m, ports, engines, index, word):
        """Write a register a cycle later, or two: that is soon enough for the GO behind it."""
        if self.config.shallow:
            words = [copy_of(m, word, name="word0")] * len(ports)
        else:
            late_engines, late_index = Signal.like(engines), Signal.like(index)
            late_word = Signal.like(word, reset_less=True)
            m.d.sync += [late_engines.eq(engines), late_index.eq(index), late_word.eq(word)]
            engines, index = late_engines, late_index
            words = [copy_of(m, late_word, name=f"word{i}") for i in range(len(ports))]
        for engine, port, late in zip(engines, ports, words, strict=True):
            m.d.sync += [port.index.eq(index), port.write.eq(engine),
                         port.writes.eq(Mux(engine, 1 << index, 0))]
            m.d.comb += port.word.eq(late)

    def _fetch(self, m):
        """Read ahead from address 0 on; return the word at ``pc``, whether it is there, consume."""
        m.submodules.words = words = BlockRam(width=32, depth=self.config.program_words)
        queue = SyncFIFOBuffered(width=_Fetched.as_shape().size, depth=AHEAD + 1)
        m.submodules.queue = ResetInserter(~self.busy)(queue)
        address = Signal(self.pc_bits)
        credits, coming = Signal(range(AHEAD + 1), init=AHEAD), Signal(FETCH_LATENCY)
        asking, consume = Signal(), Signal()
        fetched = Signal(32, reset_less=True)    # the memory's blocks are far from each other
        m.d.comb += [
            words.write.eq(self.program_valid), words.write_address.eq(self.program.address),
            words.write_data.eq(self.program.data), words.read.eq(1),
            words.read_address.eq(address), asking.eq(credits != 0),
            queue.w_data.eq(_decoded(m, fetched)), queue.w_en.eq(coming[-1]),
            queue.r_en.eq(consume),
        ]
        m.d.sync += fetched.eq(words.data)
        with m.If(self.busy):
            m.d.sync += [
                address.eq(address + asking), self.pc.eq(self.pc + consume),
                coming.eq(Cat(asking, coming)), credits.eq(credits - asking + consume),
            ]
        with m.Else():
            m.d.sync += [address.eq(0), self.pc.eq(0), coming.eq(0), credits.eq(AHEAD)]
        return data.View(_Fetched, queue.r_data), queue.r_rdy, consume

    def _fetch_next(self, m):
        """Read the word behind ``pc`` as soon as the one at ``pc`` is consumed: no queue."""
        m.submodules.words = words = Memory(shape=32, depth=self.config.program_words, init=[])
        write, read = words.write_port(), words.read_port()
        consume, after = Signal(), Signal.like(self.pc)
        m.d.comb += [
            write.addr.eq(self.program.address), write.data.eq(self.program.data),
            write.en.eq(self.program_valid), after.eq(Mux(self.start, 0, self.pc + consume)),
            read.addr.eq(after),
        ]
        m.d.sync += self.pc.eq(after)
        return _decoded(m, read.data), 1, consume

    def _moved(self, word, offset, moves):
        if not self.config.shallow:
            return (word + Mux(moves, offset, 0))[:32]
        bits = len(offset)
        return Cat((word[:bits] + offset)[:bits], word[bits:])

    def _offset(self, m, relocate):
        offset = Signal(24)
        deltas = Mux(self.parity, Cat(self.input_delta, self.output_delta), 0)
        if not self.config.shallow:              # a job's first header comes later than this
            late = Signal.like(deltas, name="deltas", reset_less=True)
            m.d.sync += late.eq(deltas)
            deltas = late
        with m.Switch(relocate):
            with m.Case(Relocate.INPUT):
                m.d.comb += offset.eq(deltas[:24])
            with m.Case(Relocate.OUTPUT):
                m.d.comb += offset.eq(deltas[24:])
        return offset
