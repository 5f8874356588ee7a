"""DMA buffer controller: bytes of the link to words of the device's memories, and back."""

from amaranth.hdl import Assert, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.config import Config
from systolith.hw.host_port import program_write, word_write
from systolith.hw.link.endpoint import Transfer
from systolith.hw.link.framing import PacketByte
from systolith.hw.link.protocol import WORD_BYTES, Target
from systolith.hw.link.stream_register import StreamRegister
from systolith.hw.registers import RegisterWrite
from systolith.hw.replica import copy_of

__all__ = ["Dma"]


class Dma(wiring.Component):
    """Collect bytes to word writes, masked at the edges; split words read into bytes.

    A word is filled byte by byte where memory takes it, and read byte by byte where the link does:
    a byte a cycle, and for each word the cycles of its access. Registers come and go through them,
    so the host sees all of one at once. Bounds are not checked here (see
    :class:`systolith.hw.admission.Admission`).

    Parameters
    ----------
    config : :class:`Config`
        The accelerator.

    Members
    -------
    transfer : :py:`In(Transfer)`
        Requests and their bytes, little-endian, addresses ascending.
    write, read, read_data, program
        As in :func:`systolith.hw.host_port.host_port`.
    register_write : :py:`Out(stream.Signature(RegisterWrite, always_ready=True))`
        Status register writes.
    register_address : :py:`Out(RegisterWrite.address)`
        Byte of a status register to read.
    register_data : :py:`In(8)`
        Its value, a cycle later.
    register_busy : :py:`In(1)`
        Registers are changing; a register is not read before they have.
    register_reading : :py:`Out(1)`
        Registers must not change.
    """

    def __init__(self, config: Config):
        self.config = config
        register = RegisterWrite.as_shape()
        super().__init__({
            "transfer": In(Transfer),
            "write": Out(stream.Signature(word_write(config))),
            "read": Out(stream.Signature(config.word_address_bits)),
            "read_data": In(stream.Signature(config.lanes * config.operand_bits,
                                             always_ready=True)),
            "program": Out(stream.Signature(program_write(config), always_ready=True)),
            "register_write": Out(stream.Signature(RegisterWrite, always_ready=True)),
            "register_address": Out(register["address"].shape),
            "register_data": In(register["data"].shape),
            "register_busy": In(1),
            "register_reading": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, transfer, request = self.config, self.transfer, self.transfer.request
        word_bytes = config.lanes * config.operand_bits // 8
        buffer_bytes = max(word_bytes, WORD_BYTES)

        memory, register = Signal(reset_less=True), Signal(reset_less=True)   # the target is
        mask = Signal(config.lanes)
        filled = self._filled(m, buffer_bytes, mask)
        word = Signal(8 * buffer_bytes, reset_less=True)     # that was read
        m.submodules.bytes_read = bytes_read = StreamRegister(PacketByte)
        connect(m, bytes_read.o, flipped(transfer.read))

        # Address of the next byte, and how many are still to move.
        cursor = Signal(range(max(config.memory_bytes, config.program_words * WORD_BYTES)),
                        reset_less=True)
        remaining = Signal(range(config.frame_bytes + 1), reset_less=True)
        last = Signal()
        word_end = Signal()
        position, chosen = (Signal(range(buffer_bytes), name=name)
                            for name in ("position", "chosen"))

        def in_word(address):
            return Mux(memory, address % word_bytes, address % WORD_BYTES)

        memory_word = cursor[word_bytes.bit_length() - 1:]
        narrow_word = cursor[WORD_BYTES.bit_length() - 1:]
        m.d.comb += [
            last.eq(remaining == 1),
            position.eq(in_word(cursor)),
            word_end.eq(position == Mux(memory, word_bytes - 1, WORD_BYTES - 1)),
            bytes_read.i.p.data.eq(_byte(word, chosen)),
            bytes_read.i.p.last.eq(last),
            self.write.p.address.eq(memory_word),
            self.write.p.data.eq(filled),
            self.write.p.mask.eq(mask),
            self.read.payload.eq(memory_word),
            self.program.p.address.eq(narrow_word),
            self.program.p.data.eq(filled),
            self.register_write.p.address.eq(cursor),
            self.register_write.p.data.eq(filled[:8 * WORD_BYTES].word_select(
                position[:(WORD_BYTES - 1).bit_length()], 8)),
            self.register_address.eq(cursor),
        ]
        # To the next byte; to the next byte of a register, and after the last to its first.
        advance = cursor.eq(cursor + 1)
        rotate = cursor[:WORD_BYTES.bit_length() - 1].eq(cursor + 1)
        count = remaining.eq(remaining - 1)
        taking = Signal()                        # what is read, from the next cycle on
        self._take(m, word, taking)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [
                    memory.eq(request.target == Target.MEMORY),
                    register.eq(request.target == Target.CSR), cursor.eq(request.address),
                    remaining.eq(request.length), mask.eq(0), chosen.eq(0),
                ]
                with m.If(transfer.start):
                    with m.If(request.write):
                        m.next = "FILL"
                    with m.Elif(request.target == Target.CSR):
                        m.next = "READ-REGISTER"
                    with m.Else():
                        m.next = "READ-WORD"

            # The cursor stays in the word until it is written.
            with m.State("FILL"):
                m.d.comb += transfer.write.ready.eq(1)
                with m.If(transfer.write.valid):
                    m.d.sync += self._place.eq(1 << position)
                    with m.If(word_end | last):
                        m.next = "SETTLE"
                        with m.If(register):
                            m.d.sync += rotate
                            m.next = "WRITE-REGISTER"
                    with m.Else():
                        m.d.sync += [advance, count]
                with m.If(transfer.abort):
                    m.next = "IDLE"

            with m.State("OFFER"):
                m.d.comb += bytes_read.i.valid.eq(1)
                with m.If(bytes_read.i.ready):
                    m.d.sync += [advance, count, chosen.eq(in_word(chosen + 1))]
                    with m.If(last):
                        m.next = "IDLE"
                    with m.Elif(word_end):
                        m.next = "READ-WORD"
                        with m.If(register):
                            m.next = "READ-REGISTER"

            with m.State("SETTLE"):              # the last byte is on its way into the word
                m.d.sync += self.write.valid.eq(memory)
                m.next = "WRITE-WORD"

            with m.State("WRITE-WORD"):
                m.d.comb += self.program.valid.eq(~memory)
                with m.If(self.write.ready | ~memory):
                    m.d.sync += self.write.valid.eq(0)
                    m.next = "WRITTEN"

            with m.State("WRITTEN"):             # memory is far from the cursor
                m.d.sync += [advance, count, mask.eq(0)]
                m.d.comb += transfer.done.eq(last)
                m.next = "FILL"
                with m.If(last):
                    m.next = "IDLE"

            with m.State("READ-WORD"):
                m.d.comb += self.read.valid.eq(1)
                m.d.sync += chosen.eq(position)
                with m.If(self.read.ready):
                    m.d.comb += taking.eq(1)
                    m.next = "WAIT"

            with m.State("WAIT"):
                with m.If(self.read_data.valid):
                    m.next = "OFFER"
                with m.Else():
                    m.d.comb += taking.eq(1)

            self._register_states(m, rotate, word_end, word, position)
        if platform == "formal":                 # what a word's proof by induction stands on
            m.d.comb += Assert(~self.write.valid | fsm.ongoing("WRITE-WORD"))
        return m

    def _filled(self, m, buffer_bytes, mask):
        """Return the word being filled: a byte arrives in it a cycle after it was taken.

        So does its element's bit of the mask.
        """
        element_bytes = self.config.operand_bits // 8
        filled = Signal(8 * buffer_bytes, reset_less=True)
        byte = Signal(8, reset_less=True)
        self._place = Signal(buffer_bytes, name="place", reset_less=True)
        m.d.sync += [byte.eq(self.transfer.write.payload), self._place.eq(0)]
        for i in range(buffer_bytes):
            with m.If(self._place[i]):
                m.d.sync += filled.word_select(i, 8).eq(byte)
                if i // element_bytes < len(mask):
                    m.d.sync += mask[i // element_bytes].eq(1)
        return filled

    def _take(self, m, word, taking):
        """Let the word take what is read: four bytes each by a copy of what decides about it."""
        data = self.read_data.payload
        for i in range(0, len(data), 32):
            with m.If(copy_of(m, taking, name=f"take{i // 32}")):
                m.d.sync += word[i:i + 32].eq(data[i:i + 32])

    def _register_states(self, m, rotate, word_end, word, position):
        """Move one register between the words and the register bank, a byte at a time."""
        register_byte = Signal(8, reset_less=True)
        m.d.sync += register_byte.eq(self.register_data)
        reading = self.register_reading          # from a register's first byte to its last
        with m.State("WRITE-REGISTER"):
            m.d.comb += self.register_write.valid.eq(1)
            m.d.sync += rotate
            with m.If(word_end):
                m.d.comb += self.transfer.done.eq(1)
                m.next = "IDLE"

        with m.State("READ-REGISTER"):
            with m.If(reading | ~self.register_busy):
                m.d.sync += reading.eq(1)
                m.next = "LOOK-UP"

        with m.State("LOOK-UP"):
            m.next = "GATHER"

        with m.State("GATHER"):
            m.d.sync += [word[:8 * WORD_BYTES].word_select(
                position[:(WORD_BYTES - 1).bit_length()], 8).eq(register_byte), rotate]
            m.next = "READ-REGISTER"
            with m.If(word_end):
                m.d.sync += reading.eq(0)
                m.next = "OFFER"


def _byte(word, position):
    """Return a byte of a word: a tree of choices, where a shift would be deeper."""
    choices = [word.word_select(i, 8) for i in range(1 << len(position))]
    for bit in position:
        choices = [Mux(bit, odd, even)
                   for even, odd in zip(choices[::2], choices[1::2], strict=True)]
    return choices[0]
