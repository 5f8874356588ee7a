"""The controller: everything between the link's bytes and the compute core."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.hw.admission import Admission
from systolith.hw.config import Config
from systolith.hw.dma import Dma
from systolith.hw.host_port import host_port
from systolith.hw.isa import Fault
from systolith.hw.jobs import Jobs
from systolith.hw.link.endpoint import Endpoint
from systolith.hw.link.framing import Deframer, Framer, PacketByte, ReceivedByte
from systolith.hw.link.packet_buffer import PacketBuffer
from systolith.hw.link.protocol import buffer_bytes
from systolith.hw.link.stream_register import StreamRegister
from systolith.hw.registers import RegisterBank

__all__ = ["Controller", "Indicators"]


#: For status LEDs: a job is waiting or running; a job was stopped; a byte moves on the link.
Indicators = wiring.Signature({"busy": Out(1), "fault": Out(1), "activity": Out(1)})


class Controller(wiring.Component):
    """Answer the link's requests: registers, memories, jobs.

    ``rx`` bytes -> frames -> whole frames -> requests -> words of the memories, and back.

    Parameters
    ----------
    config : :class:`Config`
        The accelerator.
    build_hash : :class:`int`
        Identity of the build, 32 bits, read back by the host.

    crc_bits : :class:`int`
        8: the link takes a byte a cycle; 1: a byte in nine cycles, and less logic.

    Members
    -------
    rx, tx : :py:`In(stream.Signature(8))`, :py:`Out(stream.Signature(8))`
        The link, see ``docs/link.md``. ``rx`` stalls only while the receive buffer is full.
    host : :py:`Out(host_port(config))`
        The core.
    indicators : :py:`Out(Indicators)`
        For status LEDs.
    """

    def __init__(self, config: Config, build_hash: int = 0, crc_bits: int = 8):
        self.config = config
        self.crc_bits = crc_bits
        self.build_hash = build_hash
        super().__init__({
            "rx": In(stream.Signature(8)),
            "tx": Out(stream.Signature(8)),
            "host": Out(host_port(config)),
            "indicators": Out(Indicators),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        host = self.host
        m.submodules.deframer = deframer = Deframer(self.crc_bits)
        m.submodules.received = received = StreamRegister(ReceivedByte)
        m.submodules.buffer = buffer = PacketBuffer(buffer_bytes(self.config.frame_bytes))
        m.submodules.endpoint = endpoint = Endpoint()
        m.submodules.responses = responses = StreamRegister(PacketByte)
        m.submodules.framer = framer = Framer(self.crc_bits)
        m.submodules.admission = admission = Admission(self.config)
        m.submodules.dma = dma = Dma(self.config)
        m.submodules.registers = registers = RegisterBank(self.config, self.build_hash)
        jobs = Jobs(self.config)
        m.submodules.jobs = ResetInserter(registers.clear)(jobs)

        # Bytes to requests and back.
        connect(m, flipped(self.rx), deframer.i)
        connect(m, deframer.o, received.i)
        connect(m, received.o, buffer.i)
        connect(m, buffer.o, endpoint.i)
        connect(m, endpoint.o, responses.i)
        connect(m, responses.o, framer.i)
        connect(m, framer.o, flipped(self.tx))
        m.d.comb += [
            admission.request.eq(endpoint.transfer.request),
            admission.queue_full.eq(jobs.full),
            endpoint.refusal.eq(admission.status),
            registers.link_error.eq(buffer.dropped | endpoint.dropped),
        ]

        # Requests to memories and registers.
        connect(m, endpoint.transfer, dma.transfer)
        connect(m, dma.write, flipped(host.write))
        connect(m, dma.read, flipped(host.read))
        connect(m, flipped(host.read_data), dma.read_data)
        connect(m, dma.program, flipped(host.program))
        connect(m, dma.register_write, registers.write)
        m.d.comb += [
            registers.address.eq(dma.register_address),
            dma.register_data.eq(registers.data),
            dma.register_busy.eq(jobs.publish.valid),
            registers.reading.eq(dma.register_reading),
        ]

        # Jobs.
        connect(m, jobs.publish, registers.publish)
        m.d.comb += [
            jobs.submit.eq(registers.submit),
            jobs.watchdog.eq(registers.watchdog),
            registers.status.eq(jobs.status),
            host.input_delta.eq(registers.input_delta),
            host.output_delta.eq(registers.output_delta),
            host.start.eq(jobs.start),
            host.parity.eq(jobs.parity),
            host.reset.eq(jobs.reset),
            jobs.busy.eq(host.busy),
            jobs.done.eq(host.done),
            jobs.bad.eq(host.bad),
            jobs.pc.eq(host.pc),
            jobs.entered.eq(host.entered),
            self.indicators.busy.eq(jobs.status.busy),
            self.indicators.fault.eq(jobs.status.fault != Fault.NONE),
            self.indicators.activity.eq(self.rx.valid | self.tx.valid),
        ]
        return m
