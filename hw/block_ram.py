"""Block RAM with one write port, one read port and a register behind it."""

from functools import partial

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.family import family

__all__ = ["BlockRam", "ebr_count"]

#: ECP5's EBR: address bits it takes -> data bits it gives (Lattice FPGA-TN-02204).
_EBR_WIDTHS = {9: 36, 10: 18, 11: 9, 12: 4, 13: 2, 14: 1}
#: Gowin's SDPX9B, which has the ninth bits (UG285).
_BSRAM_WIDTHS = {9: 36, 10: 18, 11: 9}
_ADDRESS_BITS = 14
#: Gowin: memories of so few bits are look-up tables, since lanes and accumulators need its BSRAM.
_FEW_BITS = 1 << 13


def ebr_count(width: int, depth: int) -> int:
    """Return the EBRs of a ``BlockRam`` on ECP5."""
    return -(-width // _EBR_WIDTHS[max((depth - 1).bit_length(), min(_EBR_WIDTHS))])


class BlockRam(wiring.Component):
    """``depth`` words; what is read appears two cycles after ``read``.

    The register behind the memory is the block's own on ECP5 and Gowin: a bare block takes half of
    a 100 MHz cycle to deliver. Reading a word in the cycle in which it is written gives anything.

    Parameters
    ----------
    width : :class:`int`
        Bits of a word.
    depth : :class:`int`
        Words, a power of two.
    registered : :class:`bool`
        There is a register behind the memory; else what is read appears a cycle after ``read``.

    Members
    -------
    write, write_address, write_data : In
    read, read_address : In
    data : :py:`Out(width)`
        Kept while ``read`` is low.
    """

    def __init__(self, *, width: int, depth: int, registered: bool = True):
        self.width, self.depth, self.registered = width, depth, registered
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(width),
            "read": In(1), "read_address": In(range(depth)), "data": Out(width),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        target = family(platform)
        few = target == "gowin" and self.width * self.depth <= _FEW_BITS
        bits = max(len(self.read_address), 9)
        if target == "ecp5" and bits in _EBR_WIDTHS and self.registered:
            self._blocks(m, bits, _EBR_WIDTHS[bits], _ebr, "ebr")
            return m
        if target == "gowin" and bits in _BSRAM_WIDTHS and not few:
            self._blocks(m, bits, _BSRAM_WIDTHS[bits],
                         partial(_bsram, registered=self.registered), "bsram")
            return m
        m.submodules.memory = memory = Memory(
            shape=self.width, depth=self.depth, init=[],
            attrs={"ram_style": "distributed" if few else "block"})
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_address),
            write.data.eq(self.write_data), read.en.eq(self.read),
            read.addr.eq(self.read_address),
        ]
        if self.registered:
            out = Signal(self.width, reset_less=True)
            m.d.sync += out.eq(read.data)
            m.d.comb += self.data.eq(out)
        else:
            m.d.comb += self.data.eq(read.data)
        return m

    def _blocks(self, m, bits, width, primitive, name):
        """Put the family's blocks side by side, each with ``2**bits`` words of ``width`` bits."""
        unused = _ADDRESS_BITS - bits
        for i, start in enumerate(range(0, self.width, width)):
            written = self.write_data[start:start + width]
            instance, out = primitive(
                width, write=self.write,
                write_address=_with_enables(width, self.write_address << unused),
                written=Cat(written, Const(0, 36 - len(written))),
                read=self.read, read_address=self.read_address << unused, name=f"{name}{i}_out")
            m.submodules[f"{name}{i}"] = instance
            m.d.comb += self.data[start:start + width].eq(out)


def _with_enables(width, address):
    """Return the address of a writing port: at 18 and 36 bits its lowest bits are byte enables."""
    enables = width // 9 if width >= 18 else 0
    return Cat(Const((1 << enables) - 1, enables), address[enables:])


def _ebr(width, *, write, write_address, written, read, read_address, name):
    """Return a DP16KD, whose port A writes and whose port B reads, and what it reads.

    At 36 bits port A's pins take the low and port B's the high half of what is written, and so with
    what is read.
    """
    low, high = Signal(18, name=f"{name}_a"), Signal(18, name=f"{name}_b")
    ports = {}
    for i in range(_ADDRESS_BITS):
        ports |= {f"i_ADA{i}": write_address[i] if i < len(write_address) else Const(0, 1),
                  f"i_ADB{i}": read_address[i] if i < len(read_address) else Const(0, 1)}
    for i in range(18):
        ports |= {f"i_DIA{i}": written[i], f"i_DIB{i}": written[18 + i],
                  f"o_DOA{i}": low[i], f"o_DOB{i}": high[i]}
    for i in range(3):
        ports |= {f"i_CSA{i}": Const(0, 1), f"i_CSB{i}": Const(0, 1)}
    instance = Instance(
        "DP16KD", p_DATA_WIDTH_A=width, p_DATA_WIDTH_B=width, p_REGMODE_A="OUTREG",
        p_REGMODE_B="OUTREG", p_RESETMODE="SYNC", p_ASYNC_RESET_RELEASE="SYNC",
        p_CSDECODE_A="0b000", p_CSDECODE_B="0b000", p_CLKAMUX="CLKA", p_CLKBMUX="CLKB",
        p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL", p_GSR="AUTO",
        i_CLKA=ClockSignal(), i_CLKB=ClockSignal(), i_CEA=write, i_WEA=write, i_OCEA=Const(1, 1),
        i_CEB=read, i_WEB=Const(0, 1), i_OCEB=Const(1, 1), i_RSTA=Const(0, 1),
        i_RSTB=Const(0, 1), **ports)
    return instance, Cat(low, high) if width == 36 else high


def _bsram(width, *, registered, write, write_address, written, read, read_address, name):
    """Return an SDPX9B, whose port A writes and whose port B reads, and what it reads."""
    out, on, off = Signal(36, name=name), Const(1, 1), Const(0, 1)
    a, b = (Cat(address, Const(0, _ADDRESS_BITS))[:_ADDRESS_BITS]
            for address in (write_address, read_address))
    instance = Instance(
        "SDPX9B", p_READ_MODE=Const(registered, 1), p_BIT_WIDTH_0=width, p_BIT_WIDTH_1=width,
        p_BLK_SEL_0=Const(0, 3), p_BLK_SEL_1=Const(0, 3), p_RESET_MODE="SYNC",
        i_CLKA=ClockSignal(), i_CLKB=ClockSignal(), i_CEA=write, i_CEB=read, i_OCE=on,
        i_RESETA=off, i_RESETB=off, i_BLKSELA=Const(0, 3), i_BLKSELB=Const(0, 3),
        i_ADA=a, i_ADB=b, i_DI=written, o_DO=out)
    return instance, out
