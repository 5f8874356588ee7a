import random
import zlib

import pytest
from amaranth.sim import Simulator

from systolith.hw.link.framing import Deframer, Framer
from systolith.hw.link.packet_buffer import PacketBuffer

SPECIAL = (0x7D, 0x7E, 0x5D, 0x5E, 0x00, 0xFF)


def packets(rng, count, longest=20):
    """Random packets with many bytes that need escapes."""
    return [bytes(rng.choice(SPECIAL) if rng.random() < 0.4 else rng.randrange(256)
                  for _ in range(rng.randint(1, longest))) for _ in range(count)]


def framed(packet):
    body = packet + zlib.crc32(packet).to_bytes(4, "little")
    return b"\x7e" + b"".join(bytes((0x7D, b ^ 0x20)) if b in (0x7D, 0x7E) else bytes((b,))
                              for b in body) + b"\x7e"


def stream(dut, payloads, *, stall, rng, cycles=20_000):
    """Payloads that leave ``dut.o`` while ``payloads`` enter ``dut.i``; checks both hold still."""
    taken = []

    async def source(ctx):
        for payload in payloads:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.i.payload, payload)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(400)

    async def sink(ctx):
        offered = None
        for _ in range(cycles):
            ctx.set(dut.o.ready, rng.random() >= stall)
            *_, valid, ready, payload = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload)
            plain = payload if isinstance(payload, int) else {
                name: payload[name] for name, _ in payload.shape()}
            assert offered is None or (valid and plain == offered), "moved while stalled"
            offered = plain if valid and not ready else None
            if valid and ready:
                taken.append(plain)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(sink, background=True)
    simulator.run()
    return taken


def split(taken):
    """Bytes up to each ``last``, with its ``good`` (if it has one)."""
    frames, bytes_so_far = [], []
    for byte in taken:
        bytes_so_far.append(byte["data"])
        if byte["last"]:
            frames.append((bytes(bytes_so_far), byte.get("good", 1)))
            bytes_so_far = []
    return frames


@pytest.mark.parametrize("crc_bits", [1, 8])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_framer(crc_bits, stall):
    rng = random.Random(1)
    sent = packets(rng, 12)
    payloads = [{"data": byte, "last": i == len(packet) - 1}
                for packet in sent for i, byte in enumerate(packet)]
    line = bytes(stream(Framer(crc_bits), payloads, stall=stall, rng=rng))
    assert line == b"".join(framed(packet) for packet in sent)


@pytest.mark.parametrize("crc_bits", [1, 8])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_deframer(crc_bits, stall):
    """Good, damaged, cut and empty frames, a shared flag, garbage in between."""
    rng = random.Random(2)
    line, expected = b"\x7e\x7e", []
    for packet in packets(rng, 24):
        frame = framed(packet)
        body = packet + zlib.crc32(packet).to_bytes(4, "little")
        match rng.randrange(4):
            case 0:
                line += frame[:-2] + b"\x7d\x7e"
                expected.append(None)
            case 1:
                damaged = bytes((body[0] ^ 4,)) + body[1:]
                line += framed(packet)[:1] + b"".join(
                    bytes((0x7D, b ^ 0x20)) if b in (0x7D, 0x7E) else bytes((b,))
                    for b in damaged) + b"\x7e"
                expected.append((damaged, 0))
            case _:
                line += frame if rng.random() < 0.5 else frame[1:]
                expected.append((body, 1))
    frames = split(stream(Deframer(crc_bits), line, stall=stall, rng=rng))
    assert len(frames) == len(expected)
    for (body, good), want in zip(frames, expected, strict=True):
        assert (body, good) == want if want else not good


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.7])
def test_packet_buffer(stall):
    """Good frames come out whole and in order; bad ones and those too long never show."""
    rng = random.Random(3)
    payloads, expected = [], []
    for packet in packets(rng, 60, longest=40):
        good = rng.random() < 0.7
        payloads += [{"data": byte, "last": i == len(packet) - 1, "good": good}
                     for i, byte in enumerate(packet)]
        if good and len(packet) < 32:
            expected.append(packet)
    taken = stream(PacketBuffer(32), payloads, stall=stall, rng=rng)
    assert 20 < len(expected) < 50
    assert [frame for frame, _ in split(taken)] == expected
