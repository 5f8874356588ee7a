"""The cocotb runner passes good devices and fails bad ones, empty benches and broken designs."""

import importlib.util
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.sim import cocotb_runner
from systolith.sim.cocotb_runner import run_bench
from systolith.sim.verilator import BuildError
from systolith.sim.verilog import to_verilog

pytestmark = pytest.mark.slow


class Inverter(wiring.Component):
    """Answers every byte with its complement; with ``lossy``, loses what meets a full FIFO."""

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def __init__(self, *, lossy):
        self.lossy = lossy
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=4)
        wiring.connect(m, fifo.r_stream, wiring.flipped(self.tx))
        m.d.comb += [
            fifo.w_stream.payload.eq(~self.rx.payload),
            fifo.w_stream.valid.eq(self.rx.valid),
            self.rx.ready.eq(fifo.w_stream.ready | self.lossy),
        ]
        return m


@pytest.fixture(autouse=True)
def benches_on_path(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


def test_a_good_device_passes_with_a_waveform(tmp_path):
    assert run_bench(Inverter(lossy=False), "echo_bench", folder=tmp_path, waves=True) == 4
    assert (tmp_path / "dump.fst").stat().st_size > 1000


def test_a_bad_device_fails_and_an_empty_bench_too(tmp_path):
    # Without stalls the FIFO never fills: only the two benches with backpressure notice.
    with pytest.raises(AssertionError, match="echo_bench: 2 of 4 tests failed; see .*bench.log"):
        run_bench(Inverter(lossy=True), "echo_bench", folder=tmp_path)
    with pytest.raises(AssertionError, match="json: "):
        run_bench(Inverter(lossy=True), "json", folder=tmp_path)


def test_missing_make(tmp_path, monkeypatch):
    which = cocotb_runner.shutil.which
    monkeypatch.setattr(cocotb_runner.shutil, "which",
                        lambda name: None if name == "make" else which(name))
    device = Inverter(lossy=False)
    to_verilog(device)  # Amaranth warns of what is never elaborated
    with pytest.raises(BuildError, match="no make found.*apt install make"):
        run_bench(device, "echo_bench", folder=tmp_path)


def test_the_bench_used_here_is_the_one_beside_this_file():
    assert Path(importlib.util.find_spec("echo_bench").origin).parent == Path(__file__).parent
