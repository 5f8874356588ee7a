"""Channel parameters of the column tile being drained, fetched a word at a time."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.bank import lane_groups
from systolith.hw.config import Config
from systolith.hw.latency import post_read_latency
from systolith.hw.post_lanes import ChannelParameters
from systolith.hw.replica import copy_of

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
        place, due = Signal(range(c.param_words + 1)), Signal()
        m.d.comb += due.eq(Cat(self.asking & self.granted, coming)[-2])
        with m.If(~self.fetch):
            m.d.sync += [asked.eq(0), got.eq(0), place.eq(0)]
        with m.Else():
            m.d.sync += [got.eq(got + coming[-1]), place.eq(place + due)]
        # which word comes with the next cycle, for each group of lanes
        coming_word = Cat(self.fetch & due & (place == i) for i in range(c.param_words))
        for g, lanes in enumerate(lane_groups(c)):
            stores = copy_of(m, coming_word, name=f"stores{g}")
            part = slice(lanes.start * c.operand_bits, lanes.stop * c.operand_bits)
            for i in range(c.param_words):
                with m.If(stores[i]):
                    m.d.sync += sections.word_select(i, len(self.word))[part].eq(self.word[part])

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
