"""One bank of the unified memory: ``lanes`` elements a word, an address for each lane."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.block_ram import BlockRam
from systolith.hw.config import Config
from systolith.hw.replica import copy_of

__all__ = ["Bank", "lane_groups", "lanes_together", "single_port"]


def lane_groups(config: Config) -> list[slice]:
    """Return the groups of neighbouring lanes that have their addresses from registers apart."""
    groups = 4 if config.bank_ports == "dual" and config.lanes >= 8 else 1
    size = config.lanes // groups
    return [slice(start, start + size) for start in range(0, config.lanes, size)]


def lanes_together(config: Config) -> int:
    """Return how many neighbouring lanes lie in one physical memory."""
    return 2 if config.bank_ports == "single" and config.operand_bits == 8 else 1


class Bank(wiring.Component):
    """A bank whose lanes read ``address`` or, where ``wrap`` is set, ``address + 1``.

    Data read appear ``BANK_LATENCY`` cycles after ``read`` (lane addresses, memory, its output
    register). With single-ported banks a write excludes a read in the same cycle; the arbiter above
    sees to that.

    One block RAM (one write, one read port) a lane, or on iCE40 with ``bank_ports =
    "single"`` and 8-bit elements one SB_SPRAM256KA for every two lanes, which therefore share an
    address: all vectors start at even elements then, except those of which only the first
    element matters (the upper lane of a pair decides, so that one is right at odd addresses too).

    Members
    -------
    read : :py:`In(groups)`
    read_address, read_next, write_address, write_next : :py:`In(word bits).array(groups)`
        Word of the first element of the vector, and the word after it; for each group of lanes the
        same, since the groups are far from each other.
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
        groups = len(lane_groups(config))
        super().__init__({
            "read": In(groups), "read_wrap": In(config.lanes), "write_wrap": In(config.lanes),
            **{name: In(word_bits).array(groups) for name in
               ("read_address", "read_next", "write_address", "write_next")},
            "write_enable": In(config.lanes), "write_data": In(row), "read_data": Out(row),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        c = self.config
        written, enable = Signal.like(self.write_data), Signal.like(self.write_enable)
        m.d.sync += [written.eq(self.write_data), enable.eq(self.write_enable)]

        def lane_address(wrap, address, after, name):
            chosen = Signal(len(address), name=name)
            m.d.sync += chosen.eq(Mux(wrap, after, address))
            return chosen

        share = lanes_together(c)
        for lane in range(0, c.lanes, share):
            lanes = slice(lane, lane + share)
            upper = lane + share - 1
            group = lane * len(lane_groups(c)) // c.lanes
            read = copy_of(m, self.read[group], name=f"read{lane}")
            read_address = lane_address(self.read_wrap[upper], self.read_address[group],
                                        self.read_next[group], f"read_address{lane}")
            write_address = lane_address(self.write_wrap[upper], self.write_address[group],
                                         self.write_next[group], f"write_address{lane}")
            memory = _single_port_registered if c.bank_ports == "single" else _dual_port
            out = memory(m, platform, lane, c, read=read, read_address=read_address,
                         write_address=write_address, enable=enable[lanes],
                         written=Cat(written[i] for i in range(lane, lane + share)))
            m.d.comb += Cat(self.read_data[i] for i in range(lane, lane + share)).eq(out)
        return m


def _dual_port(m, platform, lane, config, *, read, read_address, write_address, enable, written):
    m.submodules[f"lane{lane}"] = memory = BlockRam(width=len(written), depth=config.bank_words)
    m.d.comb += [
        memory.write.eq(enable), memory.write_address.eq(write_address),
        memory.write_data.eq(written), memory.read.eq(read), memory.read_address.eq(read_address),
    ]
    return memory.data


def _single_port_registered(m, platform, lane, config, **ports):
    out = single_port(m, platform, lane, config, **ports)
    late = Signal.like(out, name=f"late_data{lane}")
    m.d.sync += late.eq(out)
    return late


def single_port(m, platform, lane, config, *, read, read_address, write_address, enable, written):
    """Return what a memory of one port reads, a cycle after ``read``, if it is not written then."""
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
    out = Signal(16, name=f"read_data{lane}")
    nibbles = Cat(e.replicate(4 // len(enable)) for e in enable)
    m.submodules[f"lane{lane}"] = Instance(
        "SB_SPRAM256KA",
        i_CLOCK=ClockSignal("sync"), i_CHIPSELECT=read | enable.any(), i_WREN=enable.any(),
        i_MASKWREN=nibbles, i_ADDRESS=address, i_DATAIN=written, o_DATAOUT=out,
        i_STANDBY=Const(0), i_SLEEP=Const(0), i_POWEROFF=Const(1))
    return out
