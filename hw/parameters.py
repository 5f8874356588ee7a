"""Channel parameters of the column tile being drained, fetched a word at a time."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.latency import post_read_latency
from systolith.hw.post_lanes import ChannelParameters

__all__ = ["ParameterStore"]


class ParameterStore(wiring.Component):
    """Bias, multiplier and shifts of ``columns`` channels.

    While ``fetch`` is high it reads the next ``param_words`` words; ``ready`` rises when all have
    arrived. Fetching again goes on behind them.

    Members
    -------
    rewind, base : In
        Go to (word) address ``base``.
    fetch, ready : In, Out
        Handshake; lower ``fetch`` once ``ready``.
    asking, address, granted : Out, Out, In
        Word requests to memory.
    word : :py:`In(word bits)`
        Memory's data, ``post_read_latency`` cycles after a grant.
    parameters : :py:`Out(columns x ChannelParameters)`
    """

    def __init__(self, config: Config):
        self.config = c = config
        super().__init__({
            "rewind": In(1), "base": In(c.word_address_bits), "fetch": In(1), "ready": Out(1),
            "asking": Out(1), "address": Out(c.word_address_bits), "granted": In(1),
            "word": In(c.lanes * c.operand_bits),
            "parameters": Out(data.ArrayLayout(ChannelParameters, c.columns)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        asked, got = Signal(range(c.param_words + 1)), Signal(range(c.param_words + 1))
        sections = Signal(c.param_words * len(self.word), reset_less=True)
        m.d.comb += [self.asking.eq(self.fetch & (asked != c.param_words)),
                     self.ready.eq(got == c.param_words)]
        # answers to other requests come on the same port: only our own count
        coming = Signal(post_read_latency(c))
        m.d.sync += coming.eq(Cat(self.asking & self.granted, coming))
        with m.If(self.rewind):
            m.d.sync += self.address.eq(self.base)
        with m.Elif(self.asking & self.granted):
            m.d.sync += [asked.eq(asked + 1), self.address.eq(self.address + 1)]
        with m.If(~self.fetch):
            m.d.sync += [asked.eq(0), got.eq(0)]
        with m.Elif(coming[-1]):
            m.d.sync += got.eq(got + 1)
            with m.Switch(got):
                for i in range(c.param_words):
                    with m.Case(i):
                        m.d.sync += sections.word_select(i, len(self.word)).eq(self.word)

        multipliers = c.param_section_words[0] * len(self.word)
        shifts = 2 * multipliers
        for n in range(c.columns):
            parameters, shift = self.parameters[n], sections[shifts + 16 * n:][:16]
            m.d.comb += [
                parameters.bias.eq(sections[32 * n:][:32]),
                parameters.multiplier.eq(sections[multipliers + 32 * n:][:31]),
                parameters.right.eq(shift[:5]), parameters.left.eq(shift[6:10]),
            ]
        return m
