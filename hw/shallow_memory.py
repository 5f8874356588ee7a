"""The unified memory of shallow pipelines: granted, addressed and read in one cycle."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.bank import lanes_together, single_port
from systolith.hw.block_ram import BlockRam
from systolith.hw.config import Config
from systolith.hw.memory import UnifiedMemory
from systolith.hw.rotator import Rotator

__all__ = ["ShallowMemory"]


class ShallowMemory(UnifiedMemory):
    """``UnifiedMemory`` for one lane of POST, without registers but one for what that writes.

    A bank is read in the cycle of the grant, and its data go through the rotator in the next. An
    element waits for a cycle, so that what POST makes of a sum does not add to the arbiter; where
    it is written, DMA waits.
    """

    def elaborate(self, platform) -> Module:
        m = Module()
        banks = [_Bank(self.config) for _ in range(self.config.banks)]
        for b, bank in enumerate(banks):
            m.submodules[f"bank{b}"] = bank
        writing = self._writes(m, banks)
        self._reads(m, banks, writing if self.config.bank_ports == "single" else 0)
        return m

    def _writes(self, m, banks):
        """Let POST's elements or else DMA's words through; return which banks are written."""
        c = self.config
        target, valid = Signal(c.address_bits, name="written_address"), Signal(name="written")
        mask = Signal(c.lanes, name="written_mask")
        element = Signal(c.operand_bits, name="written_element")
        m.d.sync += [target.eq(self.vector_write.address), valid.eq(self.vector_write.mask.any()),
                     mask.eq(self.vector_write.mask),
                     element.eq(self.vector_write.data[0])]
        by_word = self.word_valid & ~self.word_ready & ~valid
        m.d.sync += self.word_ready.eq(by_word)
        address = Signal(c.word_address_bits, name="written_word")
        enable = Signal(c.lanes, name="written_lanes")
        word = Signal.like(self.word_data.as_value(), name="written_data")
        m.d.comb += [
            address.eq(Mux(valid, target[c.lane_bits:], self.word_address)),
            enable.eq(Mux(valid, mask << target[:c.lane_bits], self.word_mask)),
            word.eq(Mux(valid, element.replicate(c.lanes), self.word_data.as_value())),
        ]
        word_bits = (c.bank_words - 1).bit_length()
        writing = Signal(c.banks)
        for b, port in enumerate(banks):
            m.d.comb += [
                writing[b].eq((valid | by_word) & (address[word_bits:] == b)),
                port.write_enable.eq(Mux(writing[b], enable, 0)),
                port.write_address.eq(address), port.write_data.eq(word),
            ]
        return writing

    def _reads(self, m, banks, writing):
        """Grant in order of priority; give each bank the address of its one winner.

        Words are read one at a time, so that one way back is enough for all who ask for them.
        """
        c = self.config
        words = [getattr(self, name) for name, vector in self.readers.items() if not vector]
        vectors = {name: getattr(self, name) for name, vector in self.readers.items() if vector}
        address, need = Signal(c.address_bits, name="word_read"), Signal(c.banks, name="word_need")
        for port in reversed(words):
            with m.If(port.valid):
                m.d.comb += [address.eq(port.address), need.eq(port.need)]
        claims, before = [], Const(0)
        word_reader = self._reader(m, banks, "word", address, vector=False)
        for port in words:
            m.d.comb += [
                port.grant.eq(port.valid & ~before & ~(port.need & writing).any()),
                port.data.eq(word_reader.data),
            ]
            before |= port.valid
        # a claim on one bank keeps others out even if it is refused: somebody has the bank
        claims.append((before, need, address[c.lane_bits:], None))
        for name, port in vectors.items():
            reader = self._reader(m, banks, name, port.address, vector=True)
            blocked = [(port.need & writing).any()]
            blocked += [claim & (port.need & other).any() for claim, other, *_ in claims]
            m.d.comb += [port.grant.eq(port.valid & ~Cat(blocked).any()),
                         port.data.eq(reader.data)]
            claims.append((port.grant, port.need, port.address[c.lane_bits:], reader.offset))
        for name in self.readers:
            port = getattr(self, name)
            m.d.sync += port.data_valid.eq(port.grant)
        wanted = [before, *(port.valid for port in vectors.values())]
        for b, bank_port in enumerate(banks):
            m.d.comb += bank_port.read.eq(Cat(
                want & need[b] for want, (_, need, *_) in zip(wanted, claims, strict=True)).any())
            self._pick(m, b, bank_port, claims)

    def _reader(self, m, banks, name, address, *, vector):
        """Return the way back of whoever reads ``address``."""
        bank, after, _, offset, straddle = self._split(m, address, name)
        m.submodules[f"{name}_reader"] = reader = _Reader(self.config, vector=vector)
        m.d.comb += [
            reader.bank.eq(bank), reader.next_bank.eq(after), reader.offset.eq(offset),
            reader.straddle.eq(straddle),
            *(reader.banks[b].eq(bank_port.read_data) for b, bank_port in enumerate(banks)),
        ]
        return reader

    def _pick(self, m, b, bank_port, claims):
        """Give a bank the address of the first in priority that claims it, else the last one's.

        That does not wait for the grants. The next word is added beside the arbiter.
        """
        for number, (claim, need, word, offset) in reversed(list(enumerate(claims))):
            with m.If(1 if number == len(claims) - 1 else claim & need[b]):
                m.d.comb += [
                    bank_port.read_address.eq(word),
                    # a word never takes the next one: its offset is 0
                    bank_port.read_wrap.eq(0 if offset is None else self._wrapped(offset)),
                ]
                if offset is not None:
                    m.d.comb += bank_port.read_next.eq(word + 1)


class _Bank(wiring.Component):
    """A bank whose lanes read ``address`` or, where ``wrap`` is set, the word behind it.

    Data read appear in the cycle after ``read``. The lanes are those of ``Bank``, without its
    registers.
    """

    def __init__(self, config: Config):
        self.config = config
        word_bits = (config.bank_words - 1).bit_length()
        row = data.ArrayLayout(config.operand_bits, config.lanes)
        super().__init__({
            "read": In(1), "read_wrap": In(config.lanes),
            **{name: In(word_bits) for name in ("read_address", "read_next", "write_address")},
            "write_enable": In(config.lanes), "write_data": In(row), "read_data": Out(row),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        share = lanes_together(c)
        memory = single_port if c.bank_ports == "single" else _dual_port
        for lane in range(0, c.lanes, share):
            lanes, upper = slice(lane, lane + share), lane + share - 1
            read_address = Signal.like(self.read_address, name=f"read{lane}")
            m.d.comb += read_address.eq(
                Mux(self.read_wrap[upper], self.read_next, self.read_address))
            out = memory(m, platform, lane, c, read=self.read, read_address=read_address,
                         write_address=self.write_address, enable=self.write_enable[lanes],
                         written=Cat(self.write_data[i] for i in range(lane, lane + share)))
            m.d.comb += Cat(self.read_data[i] for i in range(lane, lane + share)).eq(out)
        return m


def _dual_port(m, platform, lane, config, *, read, read_address, write_address, enable, written):
    m.submodules[f"lane{lane}"] = memory = BlockRam(width=len(written), depth=config.bank_words,
                                                    registered=False)
    m.d.comb += [
        memory.write.eq(enable), memory.write_address.eq(write_address),
        memory.write_data.eq(written), memory.read.eq(read), memory.read_address.eq(read_address),
    ]
    return memory.data


class _Reader(wiring.Component):
    """The way back of one reader: picks its bank's data and, for vectors, rotates them.

    Takes note of a read and delivers in the next cycle.
    """

    def __init__(self, config: Config, *, vector: bool):
        self.config, self.vector = config, vector
        row = data.ArrayLayout(config.operand_bits, config.lanes)
        super().__init__({
            "bank": In(range(config.banks)), "next_bank": In(range(config.banks)),
            "offset": In(config.lane_bits), "straddle": In(1),
            "banks": In(row).array(config.banks), "data": Out(row),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        bank, next_bank, offset, straddle = (
            Signal.like(value, name=f"late_{value.name}", reset_less=True)
            for value in (self.bank, self.next_bank, self.offset, self.straddle))
        m.d.sync += [bank.eq(self.bank), next_bank.eq(self.next_bank), offset.eq(self.offset),
                     straddle.eq(self.straddle)]
        if not self.vector:
            m.d.comb += self.data.eq(Array(self.banks[b] for b in range(c.banks))[bank])
            return m
        m.submodules.rotator = rotator = Rotator(shape=c.operand_bits, lanes=c.lanes, registers=0)
        for lane in range(c.lanes):
            pick = Mux(straddle & (lane < offset), next_bank, bank)
            m.d.comb += rotator.i[lane].eq(Array(self.banks[b][lane] for b in range(c.banks))[pick])
        m.d.comb += [rotator.amount.eq(offset), self.data.eq(rotator.o)]
        return m
