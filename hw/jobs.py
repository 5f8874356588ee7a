"""Job queue: runs submitted jobs one after the other, times them, and stops those that fail."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.config import Config
from systolith.hw.isa import Fault, csr_address
from systolith.hw.link.protocol import WORD_BYTES
from systolith.hw.registers import DeviceStatus, RegisterWrite

__all__ = ["QUEUE_DEPTH", "Jobs"]

#: Jobs that can be waiting or running.
QUEUE_DEPTH = 2


class Jobs(wiring.Component):
    """Start a job when the engines are idle and there is one; stop it when it goes wrong.

    Jobs have parity 0, 1, 0, ... . CYCLES counts from ``start`` to ``done``: 1 if these pulses are
    in adjacent cycles. A job that is stopped counts as done; its fault stays until
    reset, and jobs behind it still run.
    After this component's own reset the engines are reset once, and zeros published.

    Parameters
    ----------
    config : :class:`Config`
        The accelerator.

    Members
    -------
    submit : :py:`In(1)`
        Pulse: queue a job. Must not come when ``full``.
    full : :py:`Out(1)`
        :data:`QUEUE_DEPTH` jobs are waiting or running.
    watchdog : :py:`In(32)`
        Cycles after which a job is stopped, 0 for never.
    start, parity, reset, busy, done, bad, pc, entered
        As in :func:`systolith.hw.host_port.host_port`.
    status : :py:`Out(DeviceStatus)`
        Content of STATUS.
    publish : :py:`Out(stream.Signature(RegisterWrite))`
        New contents of CYCLES, ENTRIES, FAULT_PC and DONE.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "submit": In(1),
            "full": Out(1),
            "watchdog": In(32),
            "start": Out(1),
            "parity": Out(1),
            "reset": Out(1),
            "busy": In(1),
            "done": In(1),
            "bad": In(1),
            "pc": In((config.program_words - 1).bit_length()),
            "entered": In(1),
            "status": Out(DeviceStatus),
            "publish": Out(stream.Signature(RegisterWrite)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        jobs = Signal(range(QUEUE_DEPTH + 1))
        fault = Signal(Fault)
        finished = Signal()
        m.d.sync += jobs.eq(jobs + self.submit - finished)
        m.d.comb += [
            self.full.eq(jobs == QUEUE_DEPTH),
            self.status.busy.eq(jobs != 0),
            self.status.fault.eq(fault),
            self.status.jobs.eq(jobs),
        ]

        # What the core says is looked at a cycle later, so the figures start a cycle later.
        ended, bad, entered = Signal(), Signal(), Signal()
        m.d.sync += [ended.eq(self.done), bad.eq(self.bad), entered.eq(self.entered)]

        # Figures of the job that runs.
        zero = Signal()
        running, ran = Signal(), Signal()
        cycles = Signal(32, reset_less=True)
        entries = Signal(32, reset_less=True)
        m.d.sync += ran.eq(running)
        with m.If(zero):
            m.d.sync += [cycles.eq(0), entries.eq(0)]
        with m.Elif(running & ran):
            m.d.sync += [cycles.eq(cycles + 1), entries.eq(entries + entered)]
        # looked up a cycle ahead: ``cycles`` will be those of the watchdog
        expired, watched, limit = Signal(), Signal(), Signal(32, reset_less=True)
        m.d.sync += [watched.eq(self.watchdog != 0), limit.eq(self.watchdog - 1),
                     expired.eq(running & ran & watched & (cycles == limit))]

        # Published a byte at a time.
        fault_pc = Signal.like(self.pc)
        done = Signal(32)
        figures = {"DONE": done, "CYCLES": cycles, "ENTRIES": entries, "FAULT_PC": fault_pc}
        rows = [(csr_address(name) * WORD_BYTES + index, value[8 * index:8 * index + 8])
                for name, value in figures.items() for index in range(WORD_BYTES)]
        row = Signal(range(len(rows)))
        fetching = Signal()                      # rows are on their way into the stream's register
        with m.If(~self.publish.valid | self.publish.ready):
            m.d.sync += [
                self.publish.valid.eq(fetching),
                self.publish.p.address.eq(Array(address for address, _ in rows)[row]),
                self.publish.p.data.eq(Array(byte for _, byte in rows)[row]),
                row.eq(row + fetching),
            ]

        with m.FSM():
            with m.State("CLEAR"):
                m.d.comb += [self.reset.eq(1), zero.eq(1)]
                m.next = "PUBLISH"

            with m.State("PUBLISH"):
                m.d.comb += fetching.eq(1)
                with m.If((~self.publish.valid | self.publish.ready) & (row == len(rows) - 1)):
                    m.next = "IDLE"

            with m.State("IDLE"):
                m.d.comb += self.start.eq((jobs != 0) & ~self.busy)
                with m.If(self.start):
                    m.d.comb += zero.eq(1)
                    m.next = "RUN"

            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(ended | bad | expired):
                    m.d.comb += finished.eq(1)
                    m.d.sync += [done.eq(done + 1), self.parity.eq(~self.parity)]
                    m.next = "PUBLISH"
                with m.If(~ended & (bad | expired)):
                    m.d.sync += [
                        fault.eq(Mux(bad, Fault.BAD_INSTRUCTION, Fault.WATCHDOG)),
                        fault_pc.eq(self.pc),
                    ]
                    m.next = "STOP"

            with m.State("STOP"):
                m.d.comb += self.reset.eq(1)
                m.next = "PUBLISH"
        return m
