"""Status and control registers: a memory of bytes whose initial content is the identity."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, ISA_VERSION, MAGIC, Fault, csr_address
from systolith.hw.link.protocol import WORD_BYTES

__all__ = ["DeviceStatus", "RegisterBank", "RegisterWrite", "identity"]


class RegisterWrite(data.Struct):
    """Write of one byte of a register; registers are little-endian."""

    address: unsigned((len(CSRS) * WORD_BYTES - 1).bit_length())
    data: unsigned(8)


class DeviceStatus(data.Struct):
    """The STATUS register."""

    busy: unsigned(1)
    reserved: unsigned(3)
    fault: Fault
    jobs: unsigned(2)


def identity(config: Config, build_hash: int) -> dict[str, int]:
    """Return the registers that never change, by name."""
    return {
        "MAGIC": MAGIC,
        "ISA_VERSION": ISA_VERSION,
        "CONFIG_HASH": config.hash,
        "BUILD_HASH": build_hash,
        "ARRAY": config.rows | config.columns << 8 | config.operand_bits << 16
        | config.post_lanes << 24,
        "MEMORY": config.banks | (config.bank_words.bit_length() - 1) << 8 | config.lanes << 16
        | config.alignment << 24,
        "LIMITS": (config.program_words.bit_length() - 1)
        | (config.accumulator_depth.bit_length() - 1) << 8 | config.frame_bytes << 16,
    }


class RegisterBank(wiring.Component):
    """The registers of ``isa.CSRS``, a byte at a time.

    What changes rarely is stored when it changes; STATUS and LINK_ERRORS are read live. CONTROL and
    SUBMIT read 0 and act when their lowest byte is written. Other read-only registers must
    not be written.

    Parameters
    ----------
    config : :class:`Config`
        The accelerator.
    build_hash : :class:`int`
        Content of BUILD_HASH, 32 bits.

    Members
    -------
    address : :py:`In(RegisterWrite.address)`
        Byte to read.
    data : :py:`Out(8)`
        Its value, a cycle later.
    reading : :py:`In(1)`
        The bytes of one register are being read; nothing is published meanwhile.
    write : :py:`In(stream.Signature(RegisterWrite, always_ready=True))`
        Writes by the host.
    publish : :py:`In(stream.Signature(RegisterWrite))`
        Writes by the device itself; they give way to the host's.
    status : :py:`In(DeviceStatus)`
        Content of STATUS.
    link_error : :py:`In(1)`
        Pulse: count one in LINK_ERRORS, modulo 2**16.
    submit, clear : :py:`Out(1)`
        Pulses: SUBMIT was written; 1 was written to CONTROL.
    watchdog, input_delta, output_delta : :py:`Out(...)`
        Content of these registers.
    """

    address: In(RegisterWrite.as_shape()["address"].shape)
    data: Out(8)
    reading: In(1)
    write: In(stream.Signature(RegisterWrite, always_ready=True))
    publish: In(stream.Signature(RegisterWrite))
    status: In(DeviceStatus)
    link_error: In(1)
    submit: Out(1)
    clear: Out(1)
    watchdog: Out(32)
    input_delta: Out(24)
    output_delta: Out(24)

    def __init__(self, config: Config, build_hash: int = 0):
        self.config = config
        self.build_hash = build_hash
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        known = identity(self.config, self.build_hash)
        content = b"".join(known.get(csr.name, 0).to_bytes(WORD_BYTES, "little") for csr in CSRS)
        m.submodules.bytes = memory = Memory(
            shape=unsigned(8), depth=1 << len(self.address), init=content)
        store = memory.write_port()
        load = memory.read_port()                # what is being read does not change

        # The host's writes go first; pulses are not stored.
        number = {csr.name: csr_address(csr.name) * WORD_BYTES for csr in CSRS}
        writing, write = Signal(), Signal(RegisterWrite)
        m.d.sync += [writing.eq(self.write.valid), write.eq(self.write.p)]
        m.d.comb += [
            self.publish.ready.eq(~writing & ~self.reading),
            store.en.eq(writing | (self.publish.valid & self.publish.ready)),
            store.addr.eq(Mux(writing, write.address, self.publish.p.address)),
            store.data.eq(Mux(writing, write.data, self.publish.p.data)),
        ]
        m.d.sync += [self.clear.eq(0), self.submit.eq(0)]
        with m.If(writing):
            with m.Switch(write.address):
                with m.Case(number["CONTROL"]):
                    m.d.comb += store.en.eq(0)
                    m.d.sync += self.clear.eq(write.data[0])
                with m.Case(number["SUBMIT"]):
                    m.d.comb += store.en.eq(0)
                    m.d.sync += self.submit.eq(1)
                for register in (self.watchdog, self.input_delta, self.output_delta):
                    for index in range(len(register) // 8):
                        with m.Case(number[register.name.upper()] + index):
                            m.d.sync += register.word_select(index, 8).eq(write.data)

        link_errors, link_error = Signal(16), Signal()
        m.d.sync += link_error.eq(self.link_error)
        with m.If(link_error):
            m.d.sync += link_errors.eq(link_errors + 1)

        is_live, live = Signal(), Signal(8)
        m.d.sync += is_live.eq(0)
        m.d.comb += [load.addr.eq(self.address), self.data.eq(Mux(is_live, live, load.data))]
        with m.Switch(self.address):
            for name, value in (("STATUS", self.status.as_value()), ("LINK_ERRORS", link_errors)):
                for index in range(2):
                    with m.Case(number[name] + index):
                        m.d.sync += [is_live.eq(1), live.eq(value.word_select(index, 8))]
        return m
