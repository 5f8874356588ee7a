"""An engine's registers: written by the sequencer, taken whole when the engine starts a nest."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import Engine, GoHeader, engine_registers
from systolith.hw.latency import take_latency
from systolith.hw.memory_nest import MemoryNest
from systolith.hw.replica import copy_of

__all__ = ["Descriptor", "descriptor_port"]


def descriptor_port(config: Config, engine: Engine) -> wiring.Signature:
    """Return the sequencer's port to an engine: GO when ``accept`` is high, register writes.

    A register write comes a cycle or two after one with ``accept``; ``writes`` has a bit for each
    register, ``write`` and ``index`` say the same.
    """
    count = len(engine_registers(engine, training=config.training))
    return wiring.Signature({
        "accept": In(1), "write": Out(1), "index": Out(range(count)), "writes": Out(count),
        "word": Out(32), "go": Out(1), "token": Out(GoHeader),
    })


class Descriptor(wiring.Component):
    """Registers of one engine, the pending GO and its token.

    With ``prefetch_descriptors`` there are two copies: the sequencer fills one while the engine
    runs from the other. Without, the sequencer waits until the engine is idle.

    Parameters
    ----------
    config, engine
        Whose registers these are.
    far : tuple of str
        Beginnings of the names of registers that are far from the sequencer: they are written a
        cycle later, which is just before a GO behind it can take them.

    Members
    -------
    port : :py:`In(descriptor_port(config, engine))`
    completed : :py:`In(ArrayLayout(token_bits, 3))`
        Finished nests of every engine in this job.
    idle : :py:`In(1)`
        The engine runs no nest.
    ready : :py:`Out(1)`
        A nest is pending and its token is there.
    take : :py:`In(1)`
        Take it (while ``ready``).
    taken, start : :py:`Out(1)`
        It was taken and has not started; it starts, ``take_latency`` cycles after ``take``, and
        ``registers`` are its registers since the cycle before at the latest (without
        ``prefetch_descriptors`` since then).
    pending : :py:`Out(1)`
        A GO has been given and not taken.
    """

    def __init__(self, config: Config, engine: Engine, far: tuple[str, ...] = ()):
        self.config, self.engine, self.far = config, engine, far
        self.layouts = {register.name: register.layout
                        for register in engine_registers(engine, training=config.training)}
        self.names = list(self.layouts)
        super().__init__({
            "port": In(descriptor_port(config, engine)), "idle": In(1), "take": In(1),
            "ready": Out(1), "taken": Out(1), "start": Out(1),
            "completed": In(data.ArrayLayout(config.token_bits, len(Engine))), "pending": Out(1),
            "registers": Out(data.ArrayLayout(32, len(self.names))),
        })

    def view(self, name: str):
        """Return the running nest's register ``name`` seen through its layout."""
        return data.View(self.layouts[name], self.registers[self.names.index(name)])

    def loops(self, prefix: str, field: str, count: int) -> list:
        """Return field ``field`` of the registers ``prefix0``, ``prefix1``, ... of all loops."""
        return [getattr(self.view(f"{prefix}{i}"), field) for i in range(count)]

    def attach(self, m, nest: MemoryNest) -> None:
        """Give a nest that keeps its own registers every write, and ``take`` as its beginning."""
        m.d.comb += [nest.set.eq(self.port.write), nest.word.eq(self.port.word),
                     nest.index.eq(self.port.index), nest.prepare.eq(self.take)]

    def elaborate(self, platform) -> Module:
        m = Module()
        prefetch = self.config.prefetch_descriptors
        words = [Signal(32, name=f"next_{n}" if prefetch else n, reset_less=True)
                 for n in self.names]
        far = [i for i, name in enumerate(self.names) if name.startswith(self.far)]
        far_word = copy_of(m, self.port.word, name="far_word") if far else None
        for i, (word, writes) in enumerate(zip(words, self.port.writes, strict=True)):
            with m.If(copy_of(m, writes, name=f"far_write{i}") if i in far else writes):
                m.d.sync += word.eq(far_word if i in far else self.port.word)
        taken = [self.take]
        for cycle in range(take_latency(self.config) - 1):
            later = Signal(name=f"taken{cycle}")
            m.d.sync += later.eq(taken[-1])
            taken.append(later)
        m.d.sync += self.start.eq(taken[-1])
        m.d.comb += self.taken.eq(Cat(taken[1:]).any())
        for i, word in enumerate(words):
            if prefetch:
                running = Signal(32, name=self.names[i], reset_less=True)
                with m.If(taken[1]):
                    m.d.sync += running.eq(word)
                word = running
            m.d.comb += self.registers[i].eq(word)

        token = Signal(GoHeader, reset_less=True)
        satisfied = Signal(reset_less=True)
        m.d.comb += [
            self.port.accept.eq(~self.pending & (1 if prefetch else self.idle)),
            self.ready.eq(self.pending & satisfied),
        ]
        counter = Signal(self.config.token_bits)
        met = ~token.wait | (counter >= token.wait_count[:len(counter)])
        if not self.config.shallow:
            m.d.comb += counter.eq(Array(self.completed)[token.wait_engine.as_value()])
        elif self.engine is Engine.STREAM:       # it alone waits, and for POST alone
            m.d.comb += counter.eq(self.completed[Engine.POST.value])
        else:
            met = 1
        # a nest comes at the earliest in the cycle after the one before it was taken
        m.d.sync += satisfied.eq(Mux(self.pending, met, 0))
        with m.If(self.take):
            m.d.sync += self.pending.eq(0)
        with m.Elif(self.port.go & self.port.accept):
            m.d.sync += [self.pending.eq(1), token.eq(self.port.token)]
        return m
