"""Which requests may be executed: every range and register is checked before anything happens."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, csr_address
from systolith.hw.link.protocol import ADDRESS_BITS, WORD_BYTES, RequestHeader, Status, Target

__all__ = ["Admission"]


class Admission(wiring.Component):
    """The reason to refuse a request, or ``OK``; two cycles after the request.

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

    Raises
    ------
    ValueError
        If the memory is larger than the link's addresses.
    """

    request: In(RequestHeader)
    queue_full: In(1)
    status: Out(Status)

    def __init__(self, config: Config):
        if config.memory_bytes > 1 << ADDRESS_BITS:
            raise ValueError(f"the link cannot address {config.memory_bytes >> 20} MiB of memory")
        self.config = config
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        config, request = self.config, self.request
        register_write = Signal()
        m.d.comb += register_write.eq((request.target == Target.CSR) & request.write)

        # The range: whole units, all of them there.
        limits = {
            Target.CSR: (len(CSRS) * WORD_BYTES, WORD_BYTES),
            Target.MEMORY: (config.memory_bytes, config.operand_bits // 8),
            Target.PROGRAM: (config.program_words * WORD_BYTES, WORD_BYTES),
        }
        limit = Signal(range(max(size for size, _ in limits.values()) + 1))
        ragged = Signal()
        with m.Switch(request.target):
            for target, (size, unit) in limits.items():
                with m.Case(target):
                    m.d.comb += [
                        limit.eq(size),
                        ragged.eq(((request.address | request.length) & (unit - 1)) != 0),
                    ]

        # The register.
        writable = Signal()
        submits = Signal()
        number = request.address[WORD_BYTES.bit_length() - 1:]
        with m.Switch(number[:(len(CSRS) - 1).bit_length()]):
            with m.Case(*(number for number, csr in enumerate(CSRS) if csr.writable)):
                m.d.comb += writable.eq(1)
        # sums, comparisons and what follows from them, a cycle each
        end, last, longest = (Signal(len(request.address) + 1), Signal.like(limit),
                              Signal.like(request.length))
        outside, wrong_length, odd, unknown, forbidden = (Signal() for _ in range(5))
        m.d.sync += [
            end.eq(request.address + request.length), last.eq(limit),
            longest.eq(Mux(register_write, WORD_BYTES, config.frame_bytes)),
            outside.eq(end > last), odd.eq(ragged),
            wrong_length.eq((request.length == 0) | (request.length > longest)),
            unknown.eq(request.response | request.reserved.any()
                       | ((request.target == Target.PROGRAM) & ~request.write)),
            forbidden.eq(register_write & ~writable),
            submits.eq(register_write & (number == csr_address("SUBMIT"))),
        ]
        with m.If(unknown):
            m.d.comb += self.status.eq(Status.BAD_OPCODE)
        with m.Elif(wrong_length):
            m.d.comb += self.status.eq(Status.BAD_LENGTH)
        with m.Elif(odd | outside):
            m.d.comb += self.status.eq(Status.BAD_ADDRESS)
        with m.Elif(forbidden):
            m.d.comb += self.status.eq(Status.READ_ONLY)
        with m.Elif(submits & self.queue_full):
            m.d.comb += self.status.eq(Status.QUEUE_FULL)
        return m
