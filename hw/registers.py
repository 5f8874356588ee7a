"""Status and control registers: one memory whose initial content is the device's identity."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, ISA_VERSION, MAGIC, Fault, csr_address

__all__ = ["DeviceStatus", "RegisterBank", "RegisterWrite", "identity"]


class RegisterWrite(data.Struct):
    """Write of one status register."""

    address: unsigned((len(CSRS) - 1).bit_length())
    data: unsigned(32)


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
    """The registers of ``isa.CSRS``.

    What changes rarely is stored in a memory when it changes; STATUS and LINK_ERRORS are read live.
    CONTROL and SUBMIT read 0. Writes to other read-only registers must not be made.

    Parameters
    ----------
    config : :class:`Config`
        The accelerator.
    build_hash : :class:`int`
        Content of BUILD_HASH, 32 bits.

    Members
    -------
    address : :py:`In(RegisterWrite.address)`
        Register to read.
    data : :py:`Out(32)`
        Its value, a cycle later.
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
    data: Out(32)
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
        m.submodules.rows = rows = Memory(
            shape=unsigned(32), depth=1 << len(self.address),
            init=[known.get(csr.name, 0) for csr in CSRS])
        store = rows.write_port()
        load = rows.read_port(transparent_for=(store,))

        # The host's writes go first; pulses are not stored.
        number = {csr.name: csr_address(csr.name) for csr in CSRS}
        address, value = self.write.p.address, self.write.p.data
        m.d.comb += [
            self.publish.ready.eq(~self.write.valid),
            store.addr.eq(Mux(self.write.valid, address, self.publish.p.address)),
            store.data.eq(Mux(self.write.valid, value, self.publish.p.data)),
            store.en.eq(self.write.valid | self.publish.valid),
        ]
        with m.If(self.write.valid):
            with m.Switch(address):
                with m.Case(number["CONTROL"]):
                    m.d.comb += [store.en.eq(0), self.clear.eq(value[0])]
                with m.Case(number["SUBMIT"]):
                    m.d.comb += [store.en.eq(0), self.submit.eq(1)]
                for register in (self.watchdog, self.input_delta, self.output_delta):
                    with m.Case(number[register.name.upper()]):
                        m.d.sync += register.eq(value)

        link_errors = Signal(16)
        with m.If(self.link_error):
            m.d.sync += link_errors.eq(link_errors + 1)

        selected = Signal.like(self.address)
        m.d.sync += selected.eq(self.address)
        m.d.comb += [load.addr.eq(self.address), self.data.eq(load.data)]
        with m.Switch(selected):
            with m.Case(number["STATUS"]):
                m.d.comb += self.data.eq(self.status)
            with m.Case(number["LINK_ERRORS"]):
                m.d.comb += self.data.eq(link_errors)
        return m
