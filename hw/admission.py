"""Which requests may be executed: every range and register is checked before anything happens."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, csr_address
from systolith.hw.link.protocol import WORD_BYTES, RequestHeader, Status, Target

__all__ = ["Admission"]


class Admission(wiring.Component):
    """The reason to refuse a request, or ``OK``; combinational.

    Parameters
    ----------
    config : :class:`Config`
        The accelerator; its memory sizes and frame length are the bounds.

    Members
    -------
    request : :py:`In(RequestHeader)`
        The request; HELLO is not judged here.
    queue_full : :py:`In(1)`
        No further job can be queued.
    status : :py:`Out(Status)`
        The outcome.
    """

    request: In(RequestHeader)
    queue_full: In(1)
    status: Out(Status)

    def __init__(self, config: Config):
        self.config = config
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        config, request = self.config, self.request
        element_shift = (config.operand_bits // 8).bit_length() - 1
        word_shift = WORD_BYTES.bit_length() - 1
        register_write = Signal()
        m.d.comb += register_write.eq((request.target == Target.CSR) & request.write)

        # The range, in units of its address space.
        count = Signal(16)
        limit = Signal(range(max(config.memory_elements, config.program_words) + 1))
        ragged = Signal()
        with m.If(request.target == Target.MEMORY):
            m.d.comb += [
                count.eq(request.length >> element_shift),
                ragged.eq(request.length[:element_shift].any()),
                limit.eq(config.memory_elements),
            ]
        with m.Else():
            m.d.comb += [
                count.eq(request.length >> word_shift),
                ragged.eq(request.length[:word_shift].any()
                          | (register_write & (request.length != WORD_BYTES))),
                limit.eq(Mux(request.target == Target.CSR, len(CSRS), config.program_words)),
            ]

        # The register.
        writable = Signal()
        with m.Switch(request.address[:(len(CSRS) - 1).bit_length()]):
            with m.Case(*(number for number, csr in enumerate(CSRS) if csr.writable)):
                m.d.comb += writable.eq(1)

        unknown = Signal()
        m.d.comb += unknown.eq(request.response | request.reserved.any()
                               | ((request.target == Target.PROGRAM) & ~request.write))
        with m.If(unknown):
            m.d.comb += self.status.eq(Status.BAD_OPCODE)
        with m.Elif(ragged | (request.length == 0) | (request.length > config.frame_bytes)):
            m.d.comb += self.status.eq(Status.BAD_LENGTH)
        with m.Elif(request.address + count > limit):
            m.d.comb += self.status.eq(Status.BAD_ADDRESS)
        with m.Elif(register_write & ~writable):
            m.d.comb += self.status.eq(Status.READ_ONLY)
        with m.Elif(register_write & self.queue_full & (request.address == csr_address("SUBMIT"))):
            m.d.comb += self.status.eq(Status.QUEUE_FULL)
        return m
