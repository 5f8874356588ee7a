"""The device's end of the link in plain Python, written from ``docs/link.md`` alone.

A reference for tests: it shares no code with the RTL or the host, only the protocol's numbers.
"""

import zlib
from collections import deque

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, ISA_VERSION, MAGIC
from systolith.hw.link.protocol import RECENT, Status

__all__ = ["DeviceModel"]

_MODULUS = 1 << 16
_READ_CSR, _WRITE_CSR, _READ_MEMORY, _WRITE_MEMORY, _WRITE_PROGRAM, _HELLO = 0, 1, 2, 3, 5, 6


class DeviceModel:
    """A device whose jobs take no time and do nothing; override ``advance`` for others.

    Parameters
    ----------
    config : Config
        Sizes of its memories.

    Attributes
    ----------
    memory, program : bytearray
        Contents, as bytes.
    registers : dict of str to int
        Status registers.
    executed : list of (int, int)
        Opcode and sequence number of every request executed as new.
    jobs, done, fault : int
        Jobs submitted and finished since reset, content of the fault field.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.memory = bytearray(config.memory_bytes)
        self.program = bytearray(4 * config.program_words)
        self.registers = {csr.name: 0 for csr in CSRS}
        self.registers |= {
            "MAGIC": MAGIC, "ISA_VERSION": ISA_VERSION, "CONFIG_HASH": config.hash,
            "ARRAY": (config.rows + (config.columns << 8) + (config.operand_bits << 16)
                      + (config.post_lanes << 24)),
            "LIMITS": config.frame_bytes << 16,
        }
        self.executed: list[tuple[int, int]] = []
        self.jobs = self.done = self.fault = 0
        self._expected = 0
        self._outcomes: deque[tuple[int, int]] = deque(maxlen=RECENT)
        self._frame = bytearray()
        self._escaped = False

    def advance(self) -> None:
        """Let time pass: called before each frame."""
        self.done = self.jobs

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host; return those sent back."""
        answers = bytearray()
        for byte in data:
            if byte == 0x7E:
                if self._frame:
                    answers += self._whole_frame(bytes(self._frame), self._escaped)
                self._frame.clear()
                self._escaped = False
            elif byte == 0x7D:
                self._escaped = True
            else:
                self._frame.append(byte ^ 0x20 if self._escaped else byte)
                self._escaped = False
        return bytes(answers)

    def _whole_frame(self, frame: bytes, aborted: bool) -> bytes:
        self.advance()
        packet, crc = frame[:-4], int.from_bytes(frame[-4:], "little")
        if aborted or len(packet) < 8 or zlib.crc32(packet) != crc:
            self.registers["LINK_ERRORS"] += 1
            return b""
        opcode, sequence = packet[0], int.from_bytes(packet[1:3], "little")
        length = int.from_bytes(packet[3:5], "little")
        address = int.from_bytes(packet[5:8], "little")
        status, data = self._judge(opcode, sequence, length, address, packet[8:])
        answer = bytes((opcode | 0x80,)) + b"".join(
            value.to_bytes(size, "little") for value, size in
            ((sequence, 2), (len(data), 2), (status.value, 1), (self._expected, 2))) + data
        answer += zlib.crc32(answer).to_bytes(4, "little")
        return b"\x7e" + b"".join(
            bytes((0x7D, byte ^ 0x20)) if byte in (0x7D, 0x7E) else bytes((byte,))
            for byte in answer) + b"\x7e"

    def _judge(self, opcode: int, sequence: int, length: int, address: int,
               payload: bytes) -> tuple[Status, bytes]:
        behind = (self._expected - sequence) % _MODULUS
        if opcode == _HELLO:
            if address != self._expected:
                return Status.OUT_OF_ORDER, b""
            self._expected = (sequence + 1) % _MODULUS
            self._outcomes.append((sequence, Status.OK))
            return Status.OK, b""
        if behind == 0:
            self.executed.append((opcode, sequence))
            status, data = self._execute(opcode, length, address, payload)
            self._outcomes.append((sequence, status))
            self._expected = (sequence + 1) % _MODULUS
            return status, data
        if behind > RECENT:
            self.registers["LINK_ERRORS"] += 1
            return Status.OUT_OF_ORDER, b""
        if opcode & 1:
            return dict(self._outcomes).get(sequence, Status.OK), b""
        return self._execute(opcode, length, address, payload)

    def _execute(self, opcode: int, length: int, address: int,
                 payload: bytes) -> tuple[Status, bytes]:
        if opcode in (_READ_CSR, _WRITE_CSR):
            unit, limit = 4, 4 * len(CSRS)
        elif opcode in (_READ_MEMORY, _WRITE_MEMORY):
            unit, limit = self.config.operand_bits // 8, self.config.memory_bytes
        elif opcode == _WRITE_PROGRAM:
            unit, limit = 4, 4 * self.config.program_words
        else:
            return Status.BAD_OPCODE, b""
        if not 0 < length <= (4 if opcode == _WRITE_CSR else self.config.frame_bytes):
            return Status.BAD_LENGTH, b""
        if address % unit or length % unit or address + length > limit:
            return Status.BAD_ADDRESS, b""
        if opcode & 1 and length != len(payload):
            return Status.BAD_LENGTH, b""
        end = address + length
        if opcode == _READ_MEMORY:
            return Status.OK, bytes(self.memory[address:end])
        if opcode == _READ_CSR:
            values = b"".join(value.to_bytes(4, "little") for value in self._live().values())
            return Status.OK, values[address:end]
        if opcode == _WRITE_CSR:
            return self._write_csr(address // 4, int.from_bytes(payload, "little")), b""
        (self.memory if opcode == _WRITE_MEMORY else self.program)[address:end] = payload
        return Status.OK, b""

    def _live(self) -> dict[str, int]:
        waiting = self.jobs - self.done
        status = (waiting > 0) | self.fault << 4 | waiting << 8
        return self.registers | {"DONE": self.done, "STATUS": status}

    def _write_csr(self, number: int, value: int) -> Status:
        csr = CSRS[number]
        if not csr.writable:
            return Status.READ_ONLY
        if csr.name == "SUBMIT":
            if self.jobs - self.done == 2:
                return Status.QUEUE_FULL
            self.jobs += 1
        elif csr.name == "CONTROL":
            if value & 1:
                self.jobs = self.done = self.fault = 0
        else:
            self.registers[csr.name] = value
        return Status.OK
