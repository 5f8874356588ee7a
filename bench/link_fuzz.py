"""Send thousands of frames over a bad line and check that nothing is lost, repeated or wrong.

    python bench/link_fuzz.py --frames 10000 --seed 1

Random writes and reads of memory, registers and jobs go through the host's link and a line that
flips bits, drops, repeats and delays frames, to the protocol's Python model, or with ``--rtl`` to
the controller's RTL (some 3000 cycles a second). Every value read is compared with a shadow copy,
every write must have been executed exactly once and in order.
"""

import argparse
import json
import random
import sys
import time

from systolith.hw.config import Config
from systolith.hw.isa import csr_address
from systolith.hw.link.protocol import WORD_BYTES, Opcode
from systolith.sim.controller_bench import ControllerBench
from systolith.sim.faulty_channel import FaultyChannel, Odds
from systolith.sim.link_model import DeviceModel
from systolith.sw.link.link import Link
from systolith.sw.link.requests import Request

ODDS = Odds(flip=0.05, drop=0.05, duplicate=0.05, delay=0.05)
CONFIG = Config(name="fuzz", rows=4, columns=4, post_lanes=1, banks=1, bank_words=256,
                program_words=64, frame_bytes=64)


class Shadow:
    """What the device must contain, and the answers to expect."""

    def __init__(self, config: Config, seed: int) -> None:
        self.config = config
        self.memory = bytearray(config.memory_bytes)
        self.watchdog = self.jobs = 0
        self.sent: list[int] = []
        self.expected: list[tuple[Request, bytes]] = []
        self._random = random.Random(seed)

    def request(self) -> Request:
        """Return the next random request, noting its effect."""
        kind = self._random.choice(("write", "write", "read", "read", "csr", "csr_read", "submit"))
        request = getattr(self, f"_{kind}")()
        self.sent.append(request.opcode.value)
        return request

    def _range(self) -> tuple[int, int]:
        length = self._random.randint(1, self.config.frame_bytes)
        return self._random.randint(0, len(self.memory) - length), length

    def _write(self) -> Request:
        address, length = self._range()
        payload = self._random.randbytes(length)
        self.memory[address:address + length] = payload
        return Request(Opcode.WRITE_MEMORY, address, payload, length)

    def _read(self) -> Request:
        address, length = self._range()
        request = Request(Opcode.READ_MEMORY, address, length=length)
        self.expected.append((request, bytes(self.memory[address:address + length])))
        return request

    def _csr(self) -> Request:
        self.watchdog = self._random.getrandbits(31) | 1 << 31
        return Request(Opcode.WRITE_CSR, WORD_BYTES * csr_address("WATCHDOG"),
                       self.watchdog.to_bytes(4, "little"), 4)

    def _csr_read(self) -> Request:
        request = Request(Opcode.READ_CSR, WORD_BYTES * csr_address("WATCHDOG"), length=4)
        self.expected.append((request, self.watchdog.to_bytes(4, "little")))
        return request

    def _submit(self) -> Request:
        self.jobs += 1
        return Request(Opcode.WRITE_CSR, WORD_BYTES * csr_address("SUBMIT"), b"\1\0\0\0", 4)


def fuzz(frames: int, seed: int, *, rtl: bool = False, odds: Odds = ODDS) -> dict[str, int]:
    """Send requests until the line has carried ``frames`` frames; return counts.

    ``wrong`` counts answers that differ from the shadow, and differences at the end: of the memory,
    of the number of jobs, and (known of the model only) of the order of execution. It must be 0.
    """
    device = ControllerBench(CONFIG, seed, stall=0.2) if rtl else DeviceModel(CONFIG)
    if rtl:
        device.job = ("done", 1)
    channel = FaultyChannel(device.receive, odds, seed)
    link = Link(channel, clock=channel.clock, retries=100, seed=seed)
    link.set_frame_bytes(CONFIG.frame_bytes)
    shadow = Shadow(CONFIG, seed)
    while channel.frames < frames:
        link.send(shadow.request())
    link.flush()
    wrong = sum(request.response.payload != data for request, data in shadow.expected)
    wrong += bytes(device.memory) != bytes(shadow.memory)
    if rtl:
        wrong += len(device.jobs) != shadow.jobs
    else:
        wrong += device.jobs != shadow.jobs
        wrong += [opcode for opcode, _ in device.executed] != shadow.sent
    return {
        "frames": channel.frames, "flipped": channel.flipped, "dropped": channel.dropped,
        "duplicated": channel.duplicated, "delayed": channel.delayed,
        "requests": len(shadow.sent), "retransmissions": link.retransmissions,
        "reads_compared": len(shadow.expected), "wrong": wrong,
    }


def main() -> int:
    """Run the fuzz and print its counts; the exit code says whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rtl", action="store_true", help="against the RTL, in amaranth.sim")
    parser.add_argument("--json", action="store_true", help="counts as JSON")
    arguments = parser.parse_args()
    start = time.perf_counter()
    counts = fuzz(arguments.frames, arguments.seed, rtl=arguments.rtl)
    counts["seconds"] = round(time.perf_counter() - start, 2)
    if arguments.json:
        print(json.dumps(counts))
    else:
        for name, value in counts.items():
            print(f"{name.replace('_', ' '):16} {value:>8}")
        print("every answer right, every request executed once" if not counts["wrong"]
              else "WRONG: the link let an error through")
    return bool(counts["wrong"])


if __name__ == "__main__":
    sys.exit(main())
