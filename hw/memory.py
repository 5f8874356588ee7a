"""The unified memory: banks, the arbiter in front of them, and vectors from any address."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.bank import Bank, lane_groups
from systolith.hw.config import Config
from systolith.hw.latency import BANK_LATENCY, CLAIM_LATENCY, read_latency
from systolith.hw.replica import copy_of, replica

__all__ = ["Reader", "Rotator", "UnifiedMemory",
           "banks_needed", "read_port", "vector_write_port"]



def read_port(config: Config) -> wiring.Signature:
    """Return a reader's port: an element address, a grant, and the data in order, later.

    ``valid`` with ``grant`` is one read; ``data_valid`` comes a fixed latency later. ``need`` is
    :func:`banks_needed` of the address, given apart so that a requester can register it.
    """
    return wiring.Signature({
        "valid": Out(1), "address": Out(config.address_bits), "need": Out(config.banks),
        "grant": In(1),
        "data_valid": In(1), "data": In(data.ArrayLayout(config.operand_bits, config.lanes)),
    })


def banks_needed(config: Config, address, *, vector: bool):
    """Return one bit for each bank a read of ``address`` takes: one, or two at a bank's end."""
    offset, rest = address[:config.lane_bits], address[config.lane_bits:]
    word_bits = (config.bank_words - 1).bit_length()
    bank, word = rest[word_bits:], rest[:word_bits]
    straddle = word.all() & offset.any() if vector else Const(0)
    return Cat((bank == b) | (straddle & (bank == (b - 1) % config.banks))
               for b in range(config.banks))


def vector_write_port(config: Config) -> wiring.Signature:
    """Return POST's port: ``post_lanes`` masked elements to any address; never refused."""
    return wiring.Signature({
        "address": Out(config.address_bits), "mask": Out(config.post_lanes),
        "data": Out(data.ArrayLayout(config.operand_bits, config.post_lanes)),
    })


class Rotator(wiring.Component):
    """``o[i] = i[(amount + i) % lanes]`` (or the inverse) in two stages, registered ones last.

    Each stage is a multiplexer over half the bits of ``amount``, which travels with the data.
    """

    def __init__(self, *, shape, lanes: int, inverse: bool = False, registers: int = 2):
        self.lanes, self.inverse, self.registers = lanes, inverse, registers
        self.bits = (lanes - 1).bit_length()
        super().__init__({"i": In(data.ArrayLayout(shape, lanes)), "amount": In(range(lanes)),
                          "o": Out(data.ArrayLayout(shape, lanes))})

    def elaborate(self, platform) -> Module:
        m = Module()
        low_bits = self.bits // 2
        low = Signal(max(low_bits, 1))
        middle = Signal.like(self.i)
        first = m.d.sync if self.registers == 2 else m.d.comb
        second = m.d.sync if self.registers else m.d.comb
        first += low.eq(self.amount[:low_bits])
        self._stage(m, first, self.i, self.amount[low_bits:], 1 << low_bits, middle)
        self._stage(m, second, middle, low[:low_bits], 1, self.o)
        return m

    def _stage(self, m, domain, source, amount, unit, target):
        sign = -1 if self.inverse else 1
        with m.Switch(amount):
            for value in range(1 << len(amount)):
                with m.Case(value):
                    domain += [target[i].eq(source[(i + sign * unit * value) % self.lanes])
                               for i in range(self.lanes)]


class Reader(wiring.Component):
    """The way back of one reader: picks its bank's data and, for vectors, rotates them.

    Takes note of a grant and delivers ``read_latency`` cycles later. A vector runs over its bank's
    end if both bits of ``at_end`` are set: it begins in the last word, and not at its beginning.
    """

    def __init__(self, config: Config, *, vector: bool):
        self.config, self.vector = config, vector
        row = data.ArrayLayout(config.operand_bits, config.lanes)
        super().__init__({
            "granted": In(1), "bank": In(range(config.banks)), "next_bank": In(range(config.banks)),
            "offset": In(config.lane_bits), "at_end": In(2),
            "banks": In(row).array(config.banks),
            "data_valid": Out(1), "data": Out(row),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config

        def delayed(value, cycles, name):
            for i in range(cycles):
                after = Signal.like(value, name=f"{name}{i + 1}")
                m.d.sync += after.eq(value)
                value = after
            return value

        latency = read_latency(c, vector=self.vector)
        m.d.comb += self.data_valid.eq(delayed(self.granted, latency, "granted"))
        word = Signal.like(self.data)
        bank, next_bank, at_end, offset = (
            delayed(value, BANK_LATENCY, name) for value, name in
            ((self.bank, "bank"), (self.next_bank, "next_bank"), (self.at_end, "at_end"),
             (self.offset, "offset")))
        straddles = at_end.all() if self.vector else 0
        for g, lanes in enumerate(lane_groups(c)):
            # lanes are far apart: each has a choice of its own, one bit a bank
            first, after = (copy_of(m, Cat(value == b for b in range(c.banks)), name=f"{name}{g}")
                            for value, name in ((bank, "first_of"), (next_bank, "after_of")))
            over = copy_of(m, Cat(straddles & (lane < offset)
                                  for lane in range(lanes.start, lanes.stop)), name=f"over_of{g}")
            for lane in range(lanes.start, lanes.stop):
                choice = Mux(over[lane - lanes.start], after, first)
                pick = copy_of(m, choice, name=f"pick{lane}")
                m.d.sync += word[lane].eq(reduce(or_, (
                    self.banks[b][lane] & pick[b].replicate(c.operand_bits)
                    for b in range(c.banks))))
        offset = delayed(self.offset, 3 + BANK_LATENCY, "amount")
        if not self.vector:
            m.d.comb += self.data.eq(word)
            return m
        m.submodules.rotator = rotator = Rotator(shape=c.operand_bits, lanes=c.lanes)
        m.d.comb += [rotator.i.eq(word), rotator.amount.eq(offset),
                     self.data.eq(rotator.o)]
        return m


class UnifiedMemory(wiring.Component):
    """Banks behind a fixed-priority arbiter; one read and one write a bank and cycle.

    A refused reader keeps its request up and waits. Reads and writes reach the banks two cycles
    after they are granted, so a read granted in a later cycle than a word write sees it; a vector
    write is stored ``WRITE_LATENCY`` cycles after it was given.

    Parameters
    ----------
    readers : :class:`dict` of :class:`str` to :class:`bool`
        Names in falling priority; True where the reader needs vectors from unaligned addresses.

    Members
    -------
    <reader> : :py:`In(read_port(config))`
    vector_write : :py:`In(vector_write_port(config))`
        POST's results; has priority.
    word_valid, word_address, word_data, word_mask : In; word_ready : Out
        DMA's whole-word writes; ``word_ready`` comes in the cycle after a word was taken.
    """

    def __init__(self, config: Config, readers: dict[str, bool]):
        self.config, self.readers = config, dict(readers)
        c = config
        super().__init__({
            **{name: In(read_port(c)) for name in readers},
            "vector_write": In(vector_write_port(c)),
            "word_valid": In(1), "word_ready": Out(1), "word_address": In(c.word_address_bits),
            "word_data": In(data.ArrayLayout(c.operand_bits, c.lanes)), "word_mask": In(c.lanes),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        banks = [Bank(self.config) for _ in range(self.config.banks)]
        for b, bank in enumerate(banks):
            m.submodules[f"bank{b}"] = bank
        writing = self._writes(m, banks)
        self._reads(m, banks, writing if self.config.bank_ports == "single" else 0)
        return m

    def _split(self, m, address, name):
        """Return bank, next bank, word in bank, lane offset and "runs over the bank's end"."""
        c = self.config
        offset, rest = address[:c.lane_bits], address[c.lane_bits:]
        word_bits = (c.bank_words - 1).bit_length()
        bank = Signal(range(c.banks), name=f"{name}_bank")
        after = Signal(range(c.banks), name=f"{name}_next_bank")
        word, straddle = rest[:word_bits], Signal(name=f"{name}_straddle")
        m.d.comb += [bank.eq(rest[word_bits:]), straddle.eq(word.all() & offset.any()),
                     after.eq(Mux(bank == c.banks - 1, 0, bank + 1))]
        return bank, after, word, offset, straddle

    def _split_written(self, m, address):
        """Return the same of a vector write; a single element lies in one word."""
        bank, after, word, offset, straddle = self._split(m, address, "write")
        if self.config.post_lanes == 1:
            offset, straddle = Const(0, self.config.lane_bits), Const(0)
        return bank, after, word, offset, straddle

    def _wrapped(self, offset):
        return Cat(lane < offset for lane in range(self.config.lanes))

    def _writes(self, m, banks):
        """Rotate POST's vectors into lanes, then let them or DMA's words through to the banks."""
        c = self.config
        m.submodules.write_rotator = rotator = Rotator(shape=c.operand_bits + 1, lanes=c.lanes,
                                                       inverse=True)
        for lane in range(c.post_lanes):
            m.d.comb += rotator.i[lane].eq(Cat(self.vector_write.data[lane],
                                               self.vector_write.mask[lane]))
        m.d.comb += rotator.amount.eq(self.vector_write.address[:c.lane_bits])
        address, valid = self.vector_write.address, self.vector_write.mask.any()
        for stage in range(CLAIM_LATENCY):
            late_address = Signal.like(address, name=f"write_address{stage}")
            late_valid = Signal(name=f"write_valid{stage}")
            m.d.sync += [late_address.eq(address), late_valid.eq(valid)]
            address, valid = late_address, late_valid
        bank, after, word, offset, straddle = self._split_written(m, address)
        lane_data = Cat(rotator.o[lane][:c.operand_bits] for lane in range(c.lanes))
        lane_mask = Cat(rotator.o[lane][c.operand_bits] for lane in range(c.lanes))

        word_bits = (c.bank_words - 1).bit_length()
        word_bank = self.word_address[word_bits:]
        by_vector, by_word = Signal(c.banks), Signal(c.banks)
        for b in range(c.banks):
            m.d.comb += [
                by_vector[b].eq(valid & ((bank == b) | (straddle & (after == b)))),
                by_word[b].eq(self.word_valid & ~self.word_ready & (word_bank == b)
                              & ~by_vector[b]),
            ]
        blocked = (by_vector & Cat(word_bank == b for b in range(c.banks))).any()
        # DMA keeps its word until it learns, a cycle later, that it went
        m.d.sync += self.word_ready.eq(self.word_valid & ~blocked & ~self.word_ready)

        # decided; now each bank takes what it was decided on, each group of lanes for itself
        def late(value, name, group):
            return copy_of(m, value, name=f"late_{name}{group}")

        wrapped, first = self._wrapped(offset), Cat(bank == b for b in range(c.banks))
        ports = [self._group_addresses(m, port, "write") for port in banks]
        for g, lanes in enumerate(lane_groups(c)):
            elements = slice(lanes.start * c.operand_bits, lanes.stop * c.operand_bits)
            wraps = late(wrapped[lanes], "wrapped", g)
            firsts, straddles = late(first, "first", g), late(straddle, "straddle", g)
            words, after = late(word, "word", g), late((word + 1)[:word_bits], "after", g)
            address = late(self.word_address[:word_bits], "word_address", g)
            to_vector, to_word = late(by_vector, "by_vector", g), late(by_word, "by_word", g)
            vector_mask = late(lane_mask[lanes], "lane_mask", g)
            vector_data = late(lane_data[elements], "lane_data", g)
            word_mask = late(self.word_mask[lanes], "word_mask", g)
            word_data = late(self.word_data.as_value()[elements], "word_data", g)
            for b, port in enumerate(banks):
                chosen = Mux(straddles, Mux(firsts[b], ~wraps, wraps), -1)
                first_word, after_it = ports[b][g]
                m.d.sync += [
                    port.write_enable[lanes].eq(Mux(to_vector[b], vector_mask & chosen,
                                                    Mux(to_word[b], word_mask, 0))),
                    port.write_wrap[lanes].eq(Mux(to_vector[b], wraps, 0)),
                    port.write_data.as_value()[elements].eq(
                        Mux(to_vector[b], vector_data, word_data)),
                    first_word.eq(Mux(to_vector[b], words, address)), after_it.eq(after),
                ]
        return by_vector | by_word

    def _group_addresses(self, m, port, kind):
        """Return a bank's registers for a word and the one after it, for each group of lanes."""
        bits = (self.config.bank_words - 1).bit_length()
        addresses = []
        for g in range(len(lane_groups(self.config))):
            word = replica(bits, name=f"{kind}_word{g}")
            after = replica(bits, name=f"{kind}_after{g}")
            m.d.comb += [getattr(port, f"{kind}_address")[g].eq(word),
                         getattr(port, f"{kind}_next")[g].eq(after)]
            addresses.append((word, after))
        return addresses

    def _reads(self, m, banks, writing):
        """Grant in order of priority; a cycle later each bank takes its one winner's address.

        Who is in whose way is worked out for all pairs side by side; what is left of the chain of
        priorities is one gate a reader.
        """
        c = self.config
        grants, winners = [], []
        for name, vector in self.readers.items():
            port = getattr(self, name)
            bank, after, word, offset, _ = self._split(m, port.address, name)
            blocked = Signal(name=f"{name}_blocked")
            m.d.comb += [
                blocked.eq(Cat((port.need & writing).any(), *(
                    granted & (port.need & other).any() for granted, other in grants)).any()),
                port.grant.eq(port.valid & ~blocked),
            ]
            grants.append((port.grant, port.need))
            winners.append([self._winner(m, port, word, self._wrapped(offset)[lanes], f"{name}{g}")
                            for g, lanes in enumerate(lane_groups(c))])
            m.submodules[f"{name}_reader"] = reader = Reader(c, vector=vector)
            m.d.comb += [
                reader.granted.eq(port.grant), reader.bank.eq(bank), reader.next_bank.eq(after),
                reader.offset.eq(offset), reader.at_end.eq(Cat(word.all(), offset.any())),
                port.data_valid.eq(reader.data_valid), port.data.eq(reader.data),
                *(reader.banks[b].eq(bank_port.read_data) for b, bank_port in enumerate(banks)),
            ]
        for b, bank_port in enumerate(banks):
            groups = self._group_addresses(m, bank_port, "read")
            for g, (lanes, (first_word, after_it)) in enumerate(
                    zip(lane_groups(c), groups, strict=True)):
                reads = copy_of(m, Cat(winner[g][0][b] for winner in winners).any(),
                                name=f"bank{b}_reads{g}")
                m.d.comb += bank_port.read[g].eq(reads)
                for winner in winners:
                    wins, word, next_word, wrapped = winner[g]
                    with m.If(wins[b]):
                        m.d.sync += [first_word.eq(word), after_it.eq(next_word),
                                     bank_port.read_wrap[lanes].eq(wrapped)]

    def _winner(self, m, port, word, wrapped, name):
        """Return, registered, what a reader won in which banks: one copy for a group of lanes."""
        return tuple(copy_of(m, value, name=f"{name}_{what}") for value, what in
                     ((Mux(port.grant, port.need, 0), "wins"), (word, "word"),
                      ((word + 1)[:len(word)], "next"), (wrapped, "wrapped")))
