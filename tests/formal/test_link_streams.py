"""Proofs: what a block of the link offers stays there, unchanged, until it is taken."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import connect, flipped

from systolith.hw.config import Config
from systolith.hw.dma import Dma
from systolith.hw.link.endpoint import Endpoint
from systolith.hw.link.framing import Deframer, Framer
from systolith.hw.link.packet_buffer import PacketBuffer
from tests.formal.proofs import prove_contract

CONFIG = Config(rows=2, columns=2, post_lanes=1, banks=1, bank_words=64, program_words=64,
                frame_bytes=16)


class Fickle(Framer):
    """A framer with a planted defect: it offers a byte only every other cycle."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.real = real = Framer()
        tick = Signal()
        m.d.sync += tick.eq(~tick)
        connect(m, flipped(self.i), real.i)
        m.d.comb += [
            self.o.payload.eq(real.o.payload), self.o.valid.eq(real.o.valid & tick),
            real.o.ready.eq(self.o.ready & tick),
        ]
        return m


@pytest.mark.slow
@pytest.mark.parametrize(("make", "sources", "sinks"), [
    (lambda: Deframer(8), ["i"], ["o"]),
    (lambda: Deframer(1), ["i"], ["o"]),
    (lambda: Framer(8), ["i"], ["o"]),
    (lambda: Framer(1), ["i"], ["o"]),
    (Endpoint, ["i", "transfer.read"], ["o"]),
    (lambda: Dma(CONFIG), ["transfer.write"], ["write", "read", "transfer.read"]),
], ids=["deframer", "deframer-serial", "framer", "framer-serial", "endpoint", "dma"])
def test_contract(make, sources, sinks, tmp_path):
    assert prove_contract(make(), sources, sinks, tmp_path)


@pytest.mark.slow
def test_packet_buffer(tmp_path):
    """Long enough to fill the ring, wrap around and drop; its pointers defy plain induction."""
    assert prove_contract(PacketBuffer(4), ["i"], ["o"], tmp_path, cycles=12)


@pytest.mark.slow
def test_a_defect_is_found(tmp_path):
    assert not prove_contract(Fickle(), ["i"], ["o"], tmp_path)
