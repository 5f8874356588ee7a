"""One bank of the unified memory: ``lanes`` elements a word, an address for each lane."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config

__all__ = ["Bank"]


class Bank(wiring.Component):
    """A bank whose lanes read ``address`` or, where ``wrap`` is set, the word behind it.

    Data read appear two cycles after ``read`` (memory, then a register), shallow: one. With
    single-ported banks a write excludes a read in the same cycle; the arbiter above sees to that.

    Infers one true block RAM (one write, one read port) a lane, or on iCE40 with ``bank_ports =
    "single"`` and 8-bit elements one SB_SPRAM256KA for every two lanes, which therefore share an
    address: all vectors start at even elements then, except those of which only the first
    element matters (the upper lane of a pair decides, so that one is right at odd addresses too).

    Members
    -------
    read : :py:`In(1)`
    read_address, write_address : :py:`In(word bits)`
        Word of the first element of the vector.
    read_next : :py:`In(word bits)`
        The word behind ``read_address``.
    read_wrap, write_wrap : :py:`In(lanes)`
        Lanes that take the next word.
    write_enable : :py:`In(lanes)`
        Lanes that are written.
    write_data, read_data : :py:`lanes x operand_bits`
    """

    def __init__(self, config: Config):
        self.config = config
        word_bits = (config.bank_words - 1).bit_length()
        row = data.ArrayLayout(config.operand_bits, config.lanes)
        super().__init__({
            "read": In(1), "read_address": In(word_bits), "read_wrap": In(config.lanes),
            "read_next": In(word_bits),
            "write_address": In(word_bits), "write_wrap": In(config.lanes),
            "write_enable": In(config.lanes), "write_data": In(row), "read_data": Out(row),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        domain = m.d.comb if c.shallow else m.d.sync
        next_write = Signal.like(self.write_address)
        m.d.comb += next_write.eq(self.write_address + 1)

        def lane_address(wrap, address, after):
            chosen = Signal.like(address)
            m.d.comb += chosen.eq(address)
            with m.If(wrap):
                m.d.comb += chosen.eq(after)
            return chosen

        single = c.bank_ports == "single"
        share = 2 if single and c.operand_bits == 8 else 1  # lanes in one physical memory
        for lane in range(0, c.lanes, share):
            lanes = slice(lane, lane + share)
            upper = lane + share - 1
            read_address = lane_address(self.read_wrap[upper], self.read_address, self.read_next)
            write_address = lane_address(self.write_wrap[upper], self.write_address, next_write)
            memory = _single_port if single else _dual_port
            out = memory(m, platform, lane, c, read=self.read, read_address=read_address,
                         write_address=write_address, enable=self.write_enable[lanes],
                         written=Cat(self.write_data[i] for i in range(lane, lane + share)))
            domain += Cat(self.read_data[i] for i in range(lane, lane + share)).eq(out)
        return m


def _dual_port(m, platform, lane, config, *, read, read_address, write_address, enable, written):
    memory = Memory(shape=len(written), depth=config.bank_words, init=[])
    m.submodules[f"lane{lane}"] = memory
    w, r = memory.write_port(), memory.read_port()
    m.d.comb += [w.addr.eq(write_address), w.data.eq(written), w.en.eq(enable),
                 r.addr.eq(read_address), r.en.eq(read)]
    return r.data


def _single_port(m, platform, lane, config, *, read, read_address, write_address, enable, written):
    address = Signal.like(read_address)
    m.d.comb += address.eq(read_address)
    with m.If(enable.any()):
        m.d.comb += address.eq(write_address)
    if platform is not None and getattr(platform, "device", "").startswith("iCE40UP"):
        return _spram(m, lane, read, address, enable, written)
    memory = Memory(shape=data.ArrayLayout(len(written) // len(enable), len(enable)),
                    depth=config.bank_words, init=[])
    m.submodules[f"lane{lane}"] = memory
    w, r = memory.write_port(granularity=1), memory.read_port()
    m.d.comb += [w.addr.eq(address), w.data.eq(written), w.en.eq(enable), r.addr.eq(address),
                 r.en.eq(read & ~enable.any())]
    return r.data.as_value()


def _spram(m, lane, read, address, enable, written):
    """SB_SPRAM256KA: 16384 x 16 bits, one port, nibble write masks (Lattice TN1314)."""
    out = Signal(16, name=f"spram{lane}")
    nibbles = Cat(e.replicate(4 // len(enable)) for e in enable)
    m.submodules[f"lane{lane}"] = Instance(
        "SB_SPRAM256KA",
        i_CLOCK=ClockSignal("sync"), i_CHIPSELECT=read | enable.any(), i_WREN=enable.any(),
        i_MASKWREN=nibbles, i_ADDRESS=address, i_DATAIN=written, o_DATAOUT=out,
        i_STANDBY=Const(0), i_SLEEP=Const(0), i_POWEROFF=Const(1))
    return out
