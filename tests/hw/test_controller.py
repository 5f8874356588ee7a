import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, ISA_VERSION, MAGIC, Fault, csr_address
from systolith.hw.link.protocol import Opcode, Status
from systolith.sim.controller_bench import ControllerBench
from systolith.sim.faulty_channel import FaultyChannel, Odds
from systolith.sw.link.link import Link, Refused
from systolith.sw.link.requests import Request

SMALL = {"rows": 4, "columns": 4, "post_lanes": 1, "banks": 3, "bank_words": 64,
         "program_words": 64, "frame_bytes": 64}
CONFIGS = [
    Config(**SMALL),
    Config(**SMALL | {"operand_bits": 16, "rows": 3}),
    Config(**SMALL | {"rows": 2, "columns": 2, "frame_bytes": 32}),
    Config(**SMALL | {"rows": 16, "columns": 8, "banks": 1}),
]


def register(name):
    return 4 * csr_address(name)


class Host:
    """Link and bench with a perfect line between them."""

    def __init__(self, config=CONFIGS[0], **options):
        self.bench = ControllerBench(config, **options)
        channel = FaultyChannel(self.bench.receive, Odds(), 0)
        self.link = Link(channel, clock=channel.clock, seed=3)
        self.unit = config.operand_bits // 8

    def write(self, address, payload):
        self.link.call(Request(Opcode.WRITE_MEMORY, address * self.unit, payload, len(payload)))

    def read(self, address, count):
        return self.link.call(Request(Opcode.READ_MEMORY, address * self.unit,
                                      length=count * self.unit))

    def write_csr(self, name, value):
        self.link.call(Request(Opcode.WRITE_CSR, register(name), value.to_bytes(4, "little"), 4))

    def csr(self, name):
        return int.from_bytes(self.link.call(Request(Opcode.READ_CSR, register(name), length=4)),
                              "little")

    def refused(self, *request):
        with pytest.raises(Refused) as caught:
            self.link.call(Request(*request))
        return caught.value.request.response.status


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.lanes}x{c.operand_bits}")
def test_identity(config):
    host = Host(config, build_hash=0xDEADBEEF)
    assert host.csr("MAGIC") == MAGIC
    assert host.csr("ISA_VERSION") == ISA_VERSION
    assert host.csr("CONFIG_HASH") == config.hash
    assert host.csr("BUILD_HASH") == 0xDEADBEEF
    array = host.csr("ARRAY").to_bytes(4, "little")
    assert list(array) == [config.rows, config.columns, config.operand_bits, config.post_lanes]
    memory = host.csr("MEMORY").to_bytes(4, "little")
    assert list(memory) == [config.banks, 6, config.lanes, config.alignment]
    assert host.csr("LIMITS") == 6 | 9 << 8 | config.frame_bytes << 16
    assert host.csr("STATUS") == 0 and host.csr("LINK_ERRORS") >= 0


def test_all_registers_in_one_read():
    host = Host()
    host.write_csr("WATCHDOG", 0x12345678)
    values = host.link.call(Request(Opcode.READ_CSR, register("WATCHDOG"), length=12))
    assert values == (0x12345678).to_bytes(4, "little") + bytes(8)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.lanes}x{c.operand_bits}")
def test_memory_unaligned(config, stall):
    """Random ranges at random elements against a shadow copy; neighbours stay untouched."""
    rng = random.Random(7)
    host = Host(config, stall=stall, seed=5)
    size, unit = config.memory_elements, config.operand_bits // 8
    host.bench.memory[:] = [rng.getrandbits(config.operand_bits) for _ in range(size)]
    shadow = list(host.bench.memory)
    for _ in range(12):
        count = rng.randint(1, config.frame_bytes // unit)
        address = rng.choice([0, size - count, rng.randint(0, size - count)])
        elements = [rng.getrandbits(config.operand_bits) for _ in range(count)]
        shadow[address:address + count] = elements
        host.write(address, b"".join(e.to_bytes(unit, "little") for e in elements))
        assert host.bench.memory == shadow
        count = rng.randint(1, config.frame_bytes // unit)
        address = rng.randint(0, size - count)
        data = host.read(address, count)
        assert data == b"".join(e.to_bytes(unit, "little")
                                for e in shadow[address:address + count])


def test_serial_crc():
    host = Host(crc_bits=1)
    host.write(5, bytes(range(50)))
    assert host.read(4, 52) == bytes((0, *range(50), 0)) and host.csr("LINK_ERRORS") == 0


def test_program():
    host = Host()
    words = [random.Random(i).getrandbits(32) for i in range(16)]
    payload = b"".join(word.to_bytes(4, "little") for word in words)
    host.link.call(Request(Opcode.WRITE_PROGRAM, 4 * 48, payload, 64))
    assert host.bench.program == [0] * 48 + words


def test_refusals_have_no_effect():
    host = Host(CONFIGS[1])
    size, word = CONFIGS[1].memory_bytes, bytes(4)
    before = list(host.bench.memory)
    cases = [
        ((Opcode.WRITE_MEMORY, size - 2, word, 4), Status.BAD_ADDRESS),
        ((Opcode.WRITE_MEMORY, (1 << 24) - 2, word, 4), Status.BAD_ADDRESS),
        ((Opcode.WRITE_MEMORY, 1, word, 4), Status.BAD_ADDRESS),
        ((Opcode.READ_MEMORY, size, b"", 2), Status.BAD_ADDRESS),
        ((Opcode.READ_MEMORY, 0, b"", 3), Status.BAD_ADDRESS),
        ((Opcode.READ_MEMORY, 0, b"", 66), Status.BAD_LENGTH),
        ((Opcode.READ_MEMORY, 0, b"", 0), Status.BAD_LENGTH),
        ((Opcode.WRITE_PROGRAM, 4 * 64, word, 4), Status.BAD_ADDRESS),
        ((Opcode.WRITE_PROGRAM, 0, bytes(6), 6), Status.BAD_ADDRESS),
        ((Opcode.WRITE_CSR, 4 * len(CSRS), word, 4), Status.BAD_ADDRESS),
        ((Opcode.WRITE_CSR, register("WATCHDOG"), bytes(8), 8), Status.BAD_LENGTH),
        ((Opcode.WRITE_CSR, register("WATCHDOG") + 2, word, 4), Status.BAD_ADDRESS),
        ((Opcode.READ_CSR, 4 * len(CSRS) - 4, b"", 8), Status.BAD_ADDRESS),
        *(((Opcode.WRITE_CSR, 4 * number, b"\1\2\3\4", 4), Status.READ_ONLY)
          for number, csr in enumerate(CSRS) if not csr.writable),
    ]
    for request, status in cases:
        assert host.refused(*request) == status, request
    assert host.bench.memory == before and not host.bench.jobs
    assert host.csr("MAGIC") == MAGIC and host.csr("DONE") == 0


@pytest.mark.parametrize("length", [1, 4, 8, 12, 16, 24])
def test_length_that_lies(length):
    """A good CRC around a wrong length must be reported, not executed as if it were right."""
    host = Host()
    assert host.refused(Opcode.WRITE_MEMORY, 0, bytes(10), length) == Status.BAD_LENGTH
    host.write(0, b"abcd")
    assert host.read(0, 4) == b"abcd"


def test_jobs():
    host = Host()
    host.write_csr("INPUT_DELTA", 0x123456)
    host.write_csr("OUTPUT_DELTA", 0xFEDCBA)
    host.bench.job = ("done", 3000)
    host.write_csr("SUBMIT", 1)
    host.write_csr("SUBMIT", 1)
    assert host.csr("STATUS") == 1 | 2 << 8
    assert host.refused(Opcode.WRITE_CSR, register("SUBMIT"), bytes(4), 4) == Status.QUEUE_FULL
    host.bench.run(3000)
    assert host.csr("STATUS") == 1 | 1 << 8 and host.csr("DONE") == 1
    assert (host.csr("CYCLES"), host.csr("ENTRIES")) == (3000, 1500)
    host.bench.job = ("done", 1)
    host.bench.run(3000)
    host.write_csr("SUBMIT", 1)
    assert (host.csr("DONE"), host.csr("CYCLES"), host.csr("ENTRIES")) == (3, 1, 0)
    assert host.csr("STATUS") == 0 and host.csr("SUBMIT") == 0
    assert [job["parity"] for job in host.bench.jobs] == [0, 1, 0]
    assert host.bench.jobs[1] == {"parity": 1, "input": 0x123456, "output": 0xFEDCBA}


@pytest.mark.parametrize(("ending", "fault"),
                         [("bad", Fault.BAD_INSTRUCTION), ("hang", Fault.WATCHDOG)])
def test_faults(ending, fault):
    host = Host()
    host.write_csr("WATCHDOG", 100)
    host.bench.job = ("done", 100)
    host.write_csr("SUBMIT", 1)
    host.bench.run(120)
    assert host.csr("STATUS") == 0, "a job of just as many cycles is not stopped"
    resets = host.bench.resets
    host.bench.job = (ending, 60)
    host.write_csr("SUBMIT", 1)
    host.bench.run(120)
    assert host.csr("STATUS") == fault.value << 4
    assert host.csr("FAULT_PC") == ControllerBench.PC and host.csr("DONE") == 2
    assert host.bench.resets > resets
    assert host.csr("CYCLES") == (101 if ending == "hang" else 60)
    # Jobs after it run, the fault stays until the host clears it.
    host.bench.job = ("done", 5)
    host.write_csr("SUBMIT", 1)
    assert host.csr("DONE") == 3 and host.csr("STATUS") == fault.value << 4
    host.write_csr("CONTROL", 1)
    for name in ("STATUS", "DONE", "CYCLES", "ENTRIES", "FAULT_PC", "CONTROL"):
        assert host.csr(name) == 0, name
    assert host.csr("WATCHDOG") == 100
    host.write_csr("SUBMIT", 1)
    assert host.bench.jobs[-1]["parity"] == 0 and host.csr("DONE") == 1


def test_reset_aborts():
    host = Host()
    host.bench.job = ("hang", 10)
    host.write_csr("SUBMIT", 1)
    host.write_csr("SUBMIT", 1)
    host.write_csr("CONTROL", 0)
    assert host.csr("STATUS") == 1 | 2 << 8
    host.write_csr("CONTROL", 1)
    assert host.csr("STATUS") == 0 and len(host.bench.jobs) == 1


def test_frame_too_long_is_dropped_and_counted():
    host = Host()
    before = host.csr("LINK_ERRORS")
    assert host.bench.receive(b"\x7e" + bytes(3000) + b"\x7e") == b""
    host.write(0, b"still here")
    assert host.read(0, 10) == b"still here"
    assert host.csr("LINK_ERRORS") == before + 1


def test_garbage_is_ignored():
    rng = random.Random(11)
    host = Host()
    host.bench.receive(rng.randbytes(2000) + b"\x7e")
    assert host.csr("MAGIC") == MAGIC and host.csr("LINK_ERRORS") > 0


@pytest.mark.slow
def test_fuzz_rtl():
    """Bit flips, drops, duplicates and delays on the line to the RTL: nothing wrong or lost."""
    bench = Path(__file__).parents[2] / "bench" / "link_fuzz.py"
    run = subprocess.run([sys.executable, bench, "--rtl", "--frames", "400", "--json"],
                         capture_output=True, text=True, timeout=300)
    counts = json.loads(run.stdout)
    assert run.returncode == 0 and counts["wrong"] == 0 and counts["requests"] > 100
