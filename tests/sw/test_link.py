import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from systolith.hw.config import Config
from systolith.hw.isa import csr_address
from systolith.hw.link.protocol import Opcode, buffer_bytes
from systolith.sim.faulty_channel import FaultyChannel, Odds
from systolith.sim.link_model import DeviceModel
from systolith.sw.link.framing import FrameDecoder, encode_frame
from systolith.sw.link.link import Link, LinkError, Refused
from systolith.sw.link.requests import Request, parse_response
from systolith.sw.transport import SerialTransport, TransportError

CONFIG = Config(rows=4, columns=4, post_lanes=1, banks=1, bank_words=64, program_words=64,
                frame_bytes=32)
FUZZ = Path(__file__).parents[2] / "bench" / "link_fuzz.py"
SUBMIT = Request(Opcode.WRITE_CSR, 4 * csr_address("SUBMIT"), bytes(4), 4)


def write(address, payload):
    return Request(Opcode.WRITE_MEMORY, address, payload, len(payload))


def read(address, length):
    return Request(Opcode.READ_MEMORY, address, length=length)


def connect(device=None, odds=None, **options):
    device = device or DeviceModel(CONFIG)
    channel = FaultyChannel(device.receive, odds or Odds(), 1)
    link = Link(channel, clock=channel.clock, seed=1, **options)
    link.set_frame_bytes(CONFIG.frame_bytes)
    return device, channel, link


def test_frames_round_trip_and_resynchronise():
    packets = [b"\x7e\x7d\x5e", bytes(range(256)), b"\x7d" * 9, b"x"]
    line = b"garbage" + encode_frame(packets[0]) + b"\x7e~junk~" + b"".join(
        encode_frame(packet) for packet in packets[1:])
    decoder = FrameDecoder()
    received = [packet for byte in line for packet in decoder.feed(bytes((byte,)))]
    assert received == packets and decoder.errors == 2
    assert FrameDecoder().feed(line) == packets


def test_every_bit_flip_in_a_frame_is_noticed():
    frame = encode_frame(b"a frame \x7e")
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert FrameDecoder().feed(b"\x7e" + damaged + b"\x7e") in ([], [b"a frame \x7e"])
        if 8 <= bit < 8 * (len(frame) - 1):
            assert FrameDecoder().feed(b"\x7e" + damaged + b"\x7e") == []


@pytest.mark.parametrize("packet", [b"", b"short", b"\x02\0\0\0\0\0\0\0", b"\x82\0\0\5\0\0\0\0abc",
                                    b"\x82\0\0\0\0\7\0\0"])
def test_what_is_no_response(packet):
    assert parse_response(packet) is None


def test_fuzz():
    """10,000 frames with bit flips, drops, duplicates and delays: nothing lost, nothing wrong."""
    run = subprocess.run([sys.executable, FUZZ, "--frames", "10000", "--seed", "7", "--json"],
                         capture_output=True, text=True, timeout=120)
    counts = json.loads(run.stdout)
    assert run.returncode == 0 and counts["wrong"] == 0 and counts["frames"] >= 10_000
    assert all(counts[name] > 300 for name in ("flipped", "dropped", "duplicated", "delayed"))


def fuzz_counts():
    spec = importlib.util.spec_from_file_location("link_fuzz", FUZZ)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fuzz(5000, 3)


def test_fuzz_notices_disturbed_reads(monkeypatch):
    monkeypatch.setattr(Request, "disturbs", lambda self, read: False)
    assert fuzz_counts()["wrong"]


def test_fuzz_notices_a_device_that_repeats_writes(monkeypatch):
    judge = DeviceModel._judge

    def forgetful(self, opcode, sequence, length, address, payload):
        if opcode & 1 and 0 < (self._expected - sequence) % 65536 <= 16:
            return self._execute(opcode, length, address, payload)
        return judge(self, opcode, sequence, length, address, payload)

    monkeypatch.setattr(DeviceModel, "_judge", forgetful)
    assert fuzz_counts()["wrong"]


def test_window_respects_the_receive_buffer():
    device, channel, link = connect()
    under_way = []
    original = channel.write
    channel.write = lambda data: (under_way.append(len(data)), original(data))
    for i in range(40):
        link.send(write(0, bytes((i,)) * 32))
        stored = sum(request.stored_bytes for request in link._flight.values())
        assert stored < buffer_bytes(CONFIG.frame_bytes)
    link.flush()
    assert len(under_way) == 40 and link.retransmissions == 0
    assert device.memory[:32] == bytes((39,)) * 32


def test_refusal_reaches_the_caller_and_the_session_goes_on():
    device, _, link = connect()
    with pytest.raises(Refused, match=r"refused WRITE_MEMORY of 4 bytes at 0xff.*BAD_ADDRESS"):
        link.call(write(0xFF, bytes(4)))
    link.send(write(0, b"abc"))
    assert link.call(read(0, 3)) == b"abc"


def test_refusal_survives_a_lost_answer():
    """The answer to a refused write is lost: the second answer must still say so."""
    device, channel, link = connect()
    lost = iter([b""])

    def lose_first(data):
        answer = device.receive(data)
        return next(lost, answer)

    channel._device = lose_first
    with pytest.raises(Refused, match="READ_ONLY"):
        link.call(Request(Opcode.WRITE_CSR, 0, bytes(4), 4))
    assert link.retransmissions == 1
    assert len(device.executed) == 1


def test_silent_device_is_given_up_in_bounded_time():
    channel = FaultyChannel(lambda data: b"", Odds(), 1)
    with pytest.raises(LinkError, match=r"no answer for 3 s; check that the bitstream"):
        Link(channel, clock=channel.clock)
    assert channel.clock() < 4


def test_device_that_vanishes():
    device, channel, link = connect()
    channel._device = lambda data: b""
    start = channel.clock()
    with pytest.raises(LinkError, match=r"stopped answering: READ_MEMORY of 8 bytes at 0x4"):
        link.call(read(4, 8))
    assert channel.clock() - start < 4


def test_device_that_restarts():
    device, channel, link = connect()
    link.call(write(0, b"abc"))
    channel._device = DeviceModel(CONFIG).receive
    with pytest.raises(LinkError, match=r"expects request 0, .* it was reset"):
        link.call(write(0, b"abc"))


def test_new_session_ignores_the_old_one():
    """Frames of a session that ended abruptly arrive in the next one: nothing is executed twice."""
    device, channel, old = connect()
    frames = []
    original = channel.write
    channel.write = lambda data: (frames.append(data), original(data))
    for _ in range(5):
        old.call(SUBMIT)
    old.send(write(0, b"old"))
    new = Link(channel, clock=channel.clock, seed=2)
    new.call(write(0, b"new"))
    jobs = device.jobs
    for frame in frames[:6]:
        device.receive(frame)
    assert new.call(read(0, 3)) == b"new" and device.jobs == jobs == 5


def test_stale_hello_changes_nothing():
    device, channel, _ = connect()
    frames = []
    original = channel.write
    channel.write = lambda data: (frames.append(data), original(data))
    Link(channel, clock=channel.clock, seed=8)
    link = Link(channel, clock=channel.clock, seed=9)
    link.call(write(0, b"abc"))
    for frame in frames:
        device.receive(frame)
    assert link.call(read(0, 3)) == b"abc" and link.retransmissions == 0


def test_lost_request_is_asked_for_again_at_once():
    """The device's answer to the gap makes the host resend without waiting for its timeout."""
    device, channel, link = connect()
    original = channel.write
    dropped = iter([True])
    channel.write = lambda data: None if next(dropped, False) else original(data)
    start = channel.clock()
    for i in range(4):
        link.send(write(4 * i, bytes((i,)) * 4))
    link.flush()
    assert channel.clock() - start < link.timeout and link.retransmissions == 4
    assert device.memory[:16] == b"".join(bytes((i,)) * 4 for i in range(4))


@pytest.mark.parametrize(("request_", "earlier", "answer"), [
    (write(0, bytes(4)), read(3, 4), True),
    (write(0, bytes(4)), read(4, 4), False),
    (write(8, bytes(4)), read(4, 4), False),
    (write(0, bytes(4)), write(0, bytes(4)), False),
    (read(0, 4), read(0, 4), False),
    (SUBMIT, read(0, 4), True),
    (SUBMIT, Request(Opcode.READ_CSR, 0, length=4), True),
    (write(0, bytes(4)), Request(Opcode.READ_CSR, 0, length=4), False),
])
def test_disturbs(request_, earlier, answer):
    assert request_.disturbs(earlier) is answer


def test_link_errors_are_counted_by_the_device():
    device, channel, link = connect(odds=Odds(flip=0.3), retries=50)
    for i in range(50):
        link.send(write(i, b"x"))
    link.flush()
    assert device.registers["LINK_ERRORS"] > 0
    assert device.memory[:50] == b"x" * 50


def test_serial_port_that_is_not_there():
    with pytest.raises(TransportError, match=r"cannot open /dev/nowhere at 3000000 baud.*cable"):
        SerialTransport("/dev/nowhere", 3_000_000)


def test_serial_pipe():
    pipe = SerialTransport("loop://", 1_000_000)
    pipe.write(b"hello")
    assert pipe.read(3, 0.1) == b"hel" and pipe.read(9, 0.1) == b"lo" and pipe.read(9, 0.01) == b""
    pipe.close()
    with pytest.raises(TransportError, match="loop:// is gone"):
        pipe.write(b"x")
