"""The unified memory: banks, the arbiter in front of them, and vectors from any address."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.bank import Bank
from systolith.hw.config import Config
from systolith.hw.latency import aligned_latency, vector_latency

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

    Takes note of a grant and delivers ``latency`` cycles later.
    """

    def __init__(self, config: Config, *, vector: bool):
        self.config, self.vector = config, vector
        row = data.ArrayLayout(config.operand_bits, config.lanes)
        super().__init__({
            "granted": In(1), "bank": In(range(config.banks)), "next_bank": In(range(config.banks)),
            "offset": In(config.lane_bits), "straddle": In(1),
            "banks": In(row).array(config.banks),
            "data_valid": Out(1), "data": Out(row),
        })

    @property
    def latency(self) -> int:
        """Cycles from grant to data."""
        latency = vector_latency if self.vector else aligned_latency
        return latency(self.config)

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config

        def delayed(value, cycles, name):
            for i in range(cycles):
                after = Signal.like(value, name=f"{name}{i + 1}")
                m.d.sync += after.eq(value)
                value = after
            return value

        m.d.comb += self.data_valid.eq(delayed(self.granted, self.latency, "granted"))
        # deep: the bank's registers, the pick and the word; shallow: the bank's memory alone
        cycles = 1 if c.shallow else 2
        domain = m.d.comb if c.shallow else m.d.sync
        bank = delayed(self.bank, cycles, "bank")
        next_bank = delayed(self.next_bank, cycles, "next_bank")
        offset = delayed(self.offset, cycles, "offset")
        straddle = delayed(self.straddle, cycles, "straddle")
        word = Signal.like(self.data)
        sources = Array(self.banks[b] for b in range(c.banks))
        if not self.vector:
            pick = bank if c.shallow else delayed(bank, 1, "pick")
            domain += word.eq(sources[pick])
            m.d.comb += self.data.eq(word)
            return m

        for lane in range(c.lanes):
            pick = Signal.like(bank, name=f"pick{lane}")
            domain += pick.eq(Mux(straddle & (lane < offset), next_bank, bank))
            domain += word[lane].eq(Array(self.banks[b][lane] for b in range(c.banks))[pick])
        m.submodules.rotator = rotator = Rotator(shape=c.operand_bits, lanes=c.lanes,
                                                 registers=0 if c.shallow else 2)
        amount = offset if c.shallow else delayed(offset, 2, "amount")
        m.d.comb += [rotator.i.eq(word), rotator.amount.eq(amount),
                     self.data.eq(rotator.o)]
        return m


class UnifiedMemory(wiring.Component):
    """Banks behind a fixed-priority arbiter; one read and one write a bank and cycle.

    A refused reader keeps its request up and waits. Reads and writes reach the banks one cycle
    after they are granted (shallow: at once), so a read granted in a later cycle than a word write
    sees it; a vector write is stored ``WRITE_LATENCY`` cycles (2) after it was given.

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
        DMA's whole-word writes.
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

    def _wrapped(self, offset):
        return Cat(lane < offset for lane in range(self.config.lanes))

    def _writes(self, m, banks):
        """Rotate POST's vectors into lanes, then let them or DMA's words through to the banks."""
        c = self.config
        lane_data, lane_mask = self._lanes_written(m)
        address, valid = self.vector_write.address, self.vector_write.mask.any()
        for stage in range(1 if c.shallow else 2):
            late_address = Signal.like(address, name=f"write_address{stage}")
            late_valid = Signal(name=f"write_valid{stage}")
            m.d.sync += [late_address.eq(address), late_valid.eq(valid)]
            address, valid = late_address, late_valid
        bank, after, word, offset, straddle = self._split(m, address, "write")
        if c.post_lanes == 1:                    # a single element lies in one word
            offset, straddle = Const(0, c.lane_bits), Const(0)

        word_bits = (c.bank_words - 1).bit_length()
        word_bank = self.word_address[word_bits:]
        writing = Signal(c.banks)
        blocked = Signal(c.banks)
        domain = m.d.comb if c.shallow else m.d.sync
        for b, port in enumerate(banks):
            by_vector, by_word = Signal(name=f"vector_to{b}"), Signal(name=f"word_to{b}")
            lanes = Mux(straddle, Mux(bank == b, ~self._wrapped(offset), self._wrapped(offset)), -1)
            m.d.comb += [
                by_vector.eq(valid & ((bank == b) | (straddle & (after == b)))),
                by_word.eq(self.word_valid & (word_bank == b) & ~by_vector),
                blocked[b].eq(by_vector & (word_bank == b)),
                writing[b].eq(by_vector | by_word),
            ]
            domain += [
                port.write_enable.eq(Mux(by_vector, lane_mask & lanes,
                                         Mux(by_word, self.word_mask, 0))),
                port.write_address.eq(Mux(by_vector, word, self.word_address[:word_bits])),
                port.write_wrap.eq(Mux(by_vector, self._wrapped(offset), 0)),
                port.write_data.eq(Mux(by_vector, lane_data, self.word_data.as_value())),
            ]
        m.d.comb += self.word_ready.eq(~blocked.any())
        return writing

    def _lanes_written(self, m):
        """Return POST's elements and mask where they belong in a word, when they are written."""
        c = self.config
        elements, mask = self.vector_write.data, self.vector_write.mask
        amount = self.vector_write.address[:c.lane_bits]
        if c.shallow and c.post_lanes == 1:
            element, lanes = Signal.like(elements[0]), Signal(c.lanes)
            m.d.sync += [element.eq(elements[0]), lanes.eq(mask << amount)]
            return element.replicate(c.lanes), lanes
        m.submodules.write_rotator = rotator = Rotator(
            shape=c.operand_bits + 1, lanes=c.lanes, inverse=True, registers=1 if c.shallow else 2)
        for lane in range(c.post_lanes):
            m.d.comb += rotator.i[lane].eq(Cat(elements[lane], mask[lane]))
        m.d.comb += rotator.amount.eq(amount)
        return (Cat(rotator.o[lane][:c.operand_bits] for lane in range(c.lanes)),
                Cat(rotator.o[lane][c.operand_bits] for lane in range(c.lanes)))

    def _reads(self, m, banks, writing):
        """Grant in order of priority; each bank takes its one winner's address.

        Who is in whose way is worked out for all pairs side by side; what is left of the chain of
        priorities is one gate a reader.
        """
        c = self.config
        grants = []
        for name, vector in self.readers.items():
            port = getattr(self, name)
            bank, after, word, offset, straddle = self._split(m, port.address, name)
            need = port.need
            blocked = Signal(name=f"{name}_blocked")
            m.d.comb += [
                blocked.eq(Cat((need & writing).any(), *(
                    claim & (need & other).any() for claim, _, other, _, _ in grants)).any()),
                port.grant.eq(port.valid & ~blocked),
            ]
            # a claim on one bank keeps others out even if it is refused: somebody has the bank
            claim = port.grant if vector else port.valid
            # a word never takes the next one: its offset is 0
            grants.append((claim, port.grant, need, word, offset if vector else Const(0)))
            m.submodules[f"{name}_reader"] = reader = Reader(c, vector=vector)
            m.d.comb += [
                reader.granted.eq(port.grant), reader.bank.eq(bank), reader.next_bank.eq(after),
                reader.offset.eq(offset), reader.straddle.eq(straddle),
                port.data_valid.eq(reader.data_valid), port.data.eq(reader.data),
                *(reader.banks[b].eq(bank_port.read_data) for b, bank_port in enumerate(banks)),
            ]
        for b, bank_port in enumerate(banks):
            if c.shallow:
                self._pick(m, b, bank_port, grants)
                continue
            m.d.sync += bank_port.read.eq(0)
            m.d.comb += bank_port.read_next.eq(bank_port.read_address + 1)
            for _, grant, need, word, offset in grants:
                with m.If(grant & need[b]):
                    m.d.sync += [bank_port.read.eq(1), bank_port.read_address.eq(word),
                                 bank_port.read_wrap.eq(self._wrapped(offset))]

    def _pick(self, m, b, bank_port, grants):
        """Give a bank the address of the first in priority that claims it, else the last one's.

        That does not wait for the grants. The next word is added beside the arbiter.
        """
        names = list(self.readers)
        m.d.comb += bank_port.read.eq(Cat(getattr(self, name).valid & need[b] for name, (
            _, _, need, _, _) in zip(names, grants, strict=True)).any())
        for name, (claim, _, need, word, offset) in reversed(list(zip(names, grants, strict=True))):
            with m.If(claim & need[b] if name != names[-1] else 1):
                m.d.comb += [bank_port.read_address.eq(word),
                             bank_port.read_wrap.eq(self._wrapped(offset))]
                if self.readers[name]:
                    m.d.comb += bank_port.read_next.eq(word + 1)
