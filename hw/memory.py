"""The unified memory: banks, the arbiter in front of them, and vectors from any address."""

from functools import reduce
from operator import or_
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.bank import Bank, lane_groups
from systolith.hw.config import Config
from systolith.hw.latency import BANK_LATENCY, GRANT_LATENCY, read_latency
from systolith.hw.multiplier import delayed
from systolith.hw.replica import copy_of, replica
from systolith.hw.rotator import Rotator

__all__ = ["Reader", "UnifiedMemory", "banks_needed", "read_port", "vector_write_port"]



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
    """Return POST's port: ``post_lanes`` masked elements to any address; never refused.

    Shallow: one element, or as many alike from an aligned address as the mask has bits set.
    """
    return wiring.Signature({
        "address": Out(config.address_bits), "mask": Out(config.fill_lanes),
        "data": Out(data.ArrayLayout(config.operand_bits, config.post_lanes)),
    })


class _Winner(NamedTuple):
    """What a reader won: the banks, one bit each; its word, the one after, lanes that take that."""

    wins: Signal
    way: Signal


def _claim(config: Config) -> data.StructLayout:
    """Return what is written where, but for the data."""
    word_bits = (config.bank_words - 1).bit_length()
    return data.StructLayout({
        "banks": unsigned(config.banks),         # that are written
        "first": unsigned(config.banks),         # the one of the first element
        "word": unsigned(word_bits), "after": unsigned(word_bits),
        "wrapped": unsigned(config.lanes),       # lanes that take the word after
        "straddles": unsigned(1),                # and that is in the next bank
    })


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
        valid = self.granted
        for cycle in range(read_latency(c, vector=self.vector)):
            later = Signal(name=f"granted{cycle}")
            m.d.sync += later.eq(valid)
            valid = later
        m.d.comb += self.data_valid.eq(valid)

        word = self._word(m)
        if not self.vector:
            m.d.comb += self.data.eq(word)
            return m
        m.submodules.rotator = rotator = Rotator(shape=c.operand_bits, lanes=c.lanes)
        amount = delayed(m, self.offset, GRANT_LATENCY + BANK_LATENCY + 1, "amount")
        m.d.comb += [rotator.i.eq(word), rotator.amount.eq(amount), self.data.eq(rotator.o)]
        return m

    def _word(self, m):
        """Return the lanes of the bank, or of the two, that were read.

        Lanes are far apart. What each of them takes is worked out once, in one bit a bank; each
        group of lanes has a copy, and each lane the choice that is left.
        """
        c = self.config
        cycles = GRANT_LATENCY + BANK_LATENCY - 3
        bank, next_bank, at_end, offset = (
            delayed(m, value, cycles, name) for value, name in
            ((self.bank, "bank"), (self.next_bank, "next_bank"), (self.at_end, "at_end"),
             (self.offset, "offset")))
        straddles = at_end.all() if self.vector else 0
        first, after, over = Signal(c.banks), Signal(c.banks), Signal(c.lanes)
        m.d.sync += [
            *(of.eq(Cat(value == b for b in range(c.banks)))
              for of, value in ((first, bank), (after, next_bank))),
            over.eq(Cat(straddles & (lane < offset) for lane in range(c.lanes))),
        ]
        word = Signal.like(self.data, reset_less=True)
        for g, lanes in enumerate(lane_groups(c)):
            first_of, after_of, over_of = (
                copy_of(m, value, name=f"{name}{g}") for value, name in
                ((first, "first_of"), (after, "after_of"), (over[lanes], "over_of")))
            for i, lane in enumerate(range(lanes.start, lanes.stop)):
                pick = copy_of(m, Mux(over_of[i], after_of, first_of), name=f"pick{lane}")
                chosen = Signal(c.operand_bits, name=f"chosen{lane}", reset_less=True)
                m.d.sync += [
                    chosen.eq(reduce(or_, (self.banks[b][lane] & pick[b].replicate(c.operand_bits)
                                           for b in range(c.banks)))),
                    word[lane].eq(chosen),       # on its way to the middle
                ]
        return word


class UnifiedMemory(wiring.Component):
    """Banks behind a fixed-priority arbiter; one read and one write a bank and cycle.

    A refused reader keeps its request up and waits. Reads and writes reach the banks equally long
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
        """Let POST's vectors or DMA's words through to the banks; return which are written.

        A word waits for a cycle without a vector. So what is written is the same for all banks, and
        each only learns whether it is meant.
        """
        rotated, vector, claim = self._vector_written(m)
        word_bits = len(claim.word)
        # DMA keeps its word until it learns, a cycle later, that it went
        taken, word_banks = Signal(), Signal(self.config.banks)
        m.d.comb += taken.eq(self.word_valid & ~self.word_ready & ~vector)
        with m.If(taken):
            m.d.comb += word_banks.eq(Cat(self.word_address[word_bits:] == b
                                          for b in range(self.config.banks)))
        decided = Signal.like(claim, name="decided")
        m.d.sync += [
            self.word_ready.eq(taken), decided.eq(claim),
            decided.banks.eq(claim.banks | word_banks),
        ]
        with m.If(~vector):
            m.d.sync += [decided.straddles.eq(0), decided.wrapped.eq(0),
                         decided.word.eq(self.word_address[:word_bits])]
        self._write(m, banks, rotated, decided, vector)
        return claim.banks | word_banks

    def _vector_written(self, m):
        """Return POST's vector in its lanes and, a cycle before, whether there is one, and where.

        It is registered once on its way to the rotator.
        """
        c, write = self.config, self.vector_write
        elements = Signal.like(write.data, name="vector_data", reset_less=True)
        mask = Signal.like(write.mask, name="vector_mask")
        address = Signal(c.address_bits, name="vector_address", reset_less=True)
        m.d.sync += [elements.eq(write.data), mask.eq(write.mask), address.eq(write.address)]
        m.submodules.write_rotator = rotator = Rotator(shape=c.operand_bits + 1, lanes=c.lanes,
                                                       inverse=True)
        m.d.comb += [rotator.amount.eq(write.address[:c.lane_bits]),
                     *(rotator.i[lane].eq(Cat(elements[lane], mask[lane]))
                       for lane in range(c.post_lanes))]

        bank, after, word, offset, straddle = self._split_written(m, address)
        vector, claim = Signal(name="vector_there"), Signal(_claim(c), name="vector_claim")
        first = Cat(bank == b for b in range(c.banks))
        second = Cat(straddle & (after == b) for b in range(c.banks))
        m.d.sync += [
            vector.eq(mask.any()), claim.banks.eq(Mux(mask.any(), first | second, 0)),
            claim.first.eq(first), claim.word.eq(word), claim.after.eq(word + 1),
            claim.wrapped.eq(self._wrapped(offset)), claim.straddles.eq(straddle),
        ]
        return rotator.o, vector, claim

    def _write(self, m, banks, rotated, decided, vector):
        """Do what was decided a cycle ago: a vector or not, each group of lanes for itself."""
        c = self.config
        for g, lanes in enumerate(lane_groups(c)):
            size = lanes.stop - lanes.start

            def late(value, name, group=g):
                return copy_of(m, value, name=f"late_{name}{group}")

            by_vector = late(vector, "by_vector")
            elements = late(Cat(Mux(by_vector, rotated[lane][:c.operand_bits],
                                    self.word_data[lane])
                                for lane in range(lanes.start, lanes.stop)), "data")
            mask = late(Mux(by_vector, Cat(rotated[lane][c.operand_bits]
                                           for lane in range(lanes.start, lanes.stop)),
                            self.word_mask[lanes]), "mask")
            wrapped, straddles = (late(decided.wrapped[lanes], "wrapped"),
                                  late(decided.straddles, "straddles"))
            to, first = late(decided.banks, "banks"), late(decided.first, "first")
            # lanes of a bank that holds the first word, and of one that holds the next
            here, beyond = (Signal(size, name=f"{name}{g}") for name in ("here", "beyond"))
            m.d.comb += [here.eq(mask & ~(wrapped & straddles.replicate(size))),
                         beyond.eq(mask & (wrapped | ~straddles.replicate(size)))]
            word, after = (replica(len(decided.word), name=f"write_{name}{g}")
                           for name in ("word", "after"))
            written = Signal(size * c.operand_bits, name=f"write_data{g}", reset_less=True)
            wraps = Signal(size, name=f"write_wraps{g}", reset_less=True)
            m.d.sync += [
                word.eq(late(decided.word, "word")), after.eq(late(decided.after, "after")),
                written.eq(elements), wraps.eq(wrapped),
            ]
            for b, port in enumerate(banks):
                m.d.sync += port.write_enable[lanes].eq(
                    Mux(to[b], Mux(first[b], here, beyond), 0))
                m.d.comb += [
                    port.write_address[g].eq(word), port.write_next[g].eq(after),
                    port.write_wrap[lanes].eq(wraps),
                    port.write_data.as_value()[lanes.start * c.operand_bits:
                                               lanes.stop * c.operand_bits].eq(written),
                ]

    def _group_addresses(self, m, port):
        """Return a bank's registers for a word and the one after it, for each group of lanes."""
        bits = (self.config.bank_words - 1).bit_length()
        addresses = []
        for g in range(len(lane_groups(self.config))):
            word = replica(bits, name=f"read_word{g}")
            after = replica(bits, name=f"read_after{g}")
            m.d.comb += [port.read_address[g].eq(word), port.read_next[g].eq(after)]
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
            winners.append(self._winner(m, port, word, self._wrapped(offset), name))
            m.submodules[f"{name}_reader"] = reader = Reader(c, vector=vector)
            m.d.comb += [
                reader.granted.eq(port.grant), reader.bank.eq(bank), reader.next_bank.eq(after),
                reader.offset.eq(offset), reader.at_end.eq(Cat(word.all(), offset.any())),
                port.data_valid.eq(reader.data_valid), port.data.eq(reader.data),
                *(reader.banks[b].eq(bank_port.read_data) for b, bank_port in enumerate(banks)),
            ]
        for b, bank_port in enumerate(banks):
            groups = self._group_addresses(m, bank_port)
            for g, (lanes, (first_word, after_it)) in enumerate(
                    zip(lane_groups(c), groups, strict=True)):
                reads = copy_of(m, Cat(winner[g].wins[b] for winner in winners).any(),
                                name=f"bank{b}_reads{g}")
                m.d.comb += bank_port.read[g].eq(reads)
                target = Cat(first_word, after_it, bank_port.read_wrap[lanes])
                m.d.sync += target.eq(winners[-1][g].way)    # nobody reads: whatever it is
                for winner in reversed(winners[:-1]):
                    with m.If(winner[g].wins[b]):
                        m.d.sync += target.eq(winner[g].way)

    def _winner(self, m, port, word, wrapped, name):
        """Return what a reader won in which banks two cycles ago: a copy for a group of lanes."""
        won = [Signal(len(value), name=f"{name}_{what}", reset_less=True) for what, value in
               (("won", port.need), ("at", word), ("after", word), ("wraps", wrapped))]
        m.d.sync += [won[0].eq(Mux(port.grant, port.need, 0)), won[1].eq(word),
                     won[2].eq(word + 1), won[3].eq(wrapped)]
        wins, word, after, wraps = won
        return [_Winner(copy_of(m, wins, name=f"{name}{g}_wins"),
                        copy_of(m, Cat(word, after, wraps[lanes]), name=f"{name}{g}_way"))
                for g, lanes in enumerate(lane_groups(self.config))]
