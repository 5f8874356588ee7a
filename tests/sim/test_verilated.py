"""The device ``sim:``: its URL, simulated time, and registers and memory through the real RTL."""

from pathlib import Path

import numpy as np
import pytest

import systolith
from systolith.hw.config import Config
from systolith.hw.isa import CSRS, Fault, GoHeader, Op, csr_address, encode
from systolith.sim import verilated
from systolith.sim.machine_device import MachineDevice
from systolith.sim.simulation import Simulation
from systolith.sim.verilated import CLOCK_HZ, Options, SimulatedTransport, open_device
from systolith.sw.backend import DeviceError

SMALL = Config(name="small", rows=4, columns=4, post_lanes=4, banks=2, bank_words=64,
               accumulator_depth=16, program_words=64, frame_bytes=64)


@pytest.mark.parametrize("text, options", [
    ("", Options()),
    ("?trace=a.fst", Options(trace=Path("a.fst"))),
    ("?byte_cycles=33", Options(byte_cycles=33)),
    ("?byte_cycles=2&trace=/tmp/b.fst", Options(byte_cycles=2, trace=Path("/tmp/b.fst"))),
])
def test_options(text, options):
    assert Options.parse(text) == options


@pytest.mark.parametrize("text, message", [
    ("fast", "sim:fast is not understood"),
    ("?speed=1", "no option 'speed'; there are byte_cycles, trace"),
    ("?byte_cycles=0", "byte_cycles must be 1 to 1000000, not '0'"),
    ("?byte_cycles=x", "not 'x'"),
    ("?trace=", "trace needs a file name"),
])
def test_wrong_options(text, message):
    with pytest.raises(DeviceError, match=message):
        Options.parse(text)


def test_a_configuration_is_needed():
    with pytest.raises(DeviceError, match="give it a configuration"):
        open_device("", None)


class Silent(Simulation):
    """A stand-in for the compiled model that answers ``answer`` after ``delay`` cycles."""

    def __init__(self, answer=b"", delay=0):
        self._answer, self._delay, self._now = answer, delay, 0

    def run(self, cycles, wanted):
        waiting = len(self._answer) if self._now + cycles >= self._delay else 0
        self._now = self._now + cycles if waiting < wanted else max(self._now, self._delay)
        return waiting

    def receive(self, count):
        data, self._answer = self._answer[:count], self._answer[count:]
        return data

    @property
    def cycles(self):
        return self._now


def test_reading_from_a_silent_device_ends():
    transport = SimulatedTransport(Silent())
    assert transport.read(100, timeout=0.001) == b""
    assert transport.clock() == pytest.approx(0.001)
    assert transport.simulation.cycles == CLOCK_HZ // 1000


def test_reading_stops_at_the_first_bytes():
    transport = SimulatedTransport(Silent(b"answer", delay=500))
    assert transport.read(4, timeout=1.0) == b"answ"
    assert transport.simulation.cycles < 600


@pytest.fixture(scope="module")
def device():
    backend = open_device("", SMALL)
    yield backend
    backend.close()


@pytest.mark.slow
def test_identity(device):
    assert device.identify()["CONFIG_HASH"] == SMALL.hash


@pytest.mark.slow
def test_memory_holds_what_is_written(device):
    random = np.random.default_rng(1)
    expected = random.integers(-128, 128, SMALL.memory_elements).astype(np.int8)
    device.write_memory(0, expected)
    for _ in range(20):
        address = int(random.integers(0, len(expected) - 200))
        piece = random.integers(-128, 128, int(random.integers(1, 200))).astype(np.int8)
        device.write_memory(address, piece)
        expected[address:address + len(piece)] = piece
    assert np.array_equal(device.read_memory(0, len(expected)), expected)


@pytest.mark.slow
def test_registers_hold_what_is_written(device):
    for value in (0, 0x12345, 0xABCDEF):
        device.write_csr("INPUT_DELTA", value)
        assert device.read_csr("INPUT_DELTA") == value
    with pytest.raises(DeviceError, match="refused"):
        device.write_csr("MAGIC", 1)
        device.flush()
    assert csr_address("LINK_ERRORS") < len(CSRS) and device.read_csr("LINK_ERRORS") == 0


@pytest.mark.slow
def test_the_watchdog_bites_in_the_cycle_the_machine_says(device):
    machine = MachineDevice(SMALL)
    for backend in (device, machine):
        backend.write_program(np.array([encode(GoHeader, op=Op.END)], np.uint32))
    bitten = []
    for watchdog in range(40):
        for backend in (device, machine):
            backend.reset()
            backend.write_csr("WATCHDOG", watchdog)
            backend.submit()
            while not backend.read_csr("DONE"):
                pass
        found, expected = ({name: backend.read_csr(name) for name in ("STATUS", "CYCLES", "DONE")}
                           for backend in (device, machine))
        assert found == expected
        bitten.append(found["STATUS"] >> 4 == Fault.WATCHDOG.value)
    assert bitten[0] is False and bitten[1] is True and bitten[-1] is False


@pytest.mark.slow
def test_a_link_as_slow_as_a_uart_needs_no_retransmission(device):
    data = np.arange(SMALL.memory_elements, dtype=np.int8)
    slow = open_device("?byte_cycles=33", SMALL)
    slow.write_memory(0, data)
    assert np.array_equal(slow.read_memory(0, len(data)), data)
    assert slow.link.retransmissions == 0
    # Every byte crosses the link twice.
    assert slow.cycles > 2 * 33 * len(data)
    slow.close()


@pytest.mark.slow
def test_simulated_time_does_not_depend_on_the_machine():
    cycles = []
    for _ in range(2):
        device = open_device("", SMALL)
        device.write_memory(5, np.arange(100, dtype=np.int8))
        device.read_memory(3, 50)
        cycles.append(device.cycles)
        device.close()
    assert cycles[0] == cycles[1]


@pytest.mark.slow
def test_open_by_url_refuses_another_configuration(monkeypatch):
    other = Config(name="other", rows=8)
    monkeypatch.setattr(verilated, "build_accelerator",
                        lambda config, build=verilated.build_accelerator, **_: build(SMALL))
    with pytest.raises(DeviceError, match="made for other"):
        systolith.open("sim:", other)


@pytest.mark.slow
def test_waveform_that_cannot_be_written(device, monkeypatch):
    monkeypatch.setattr(verilated, "build_accelerator",
                        lambda config, build=verilated.build_accelerator, **_: build(config))
    with pytest.raises(DeviceError, match="sim: cannot start: .*missing"):
        open_device("?trace=/missing/wave.fst", SMALL)
