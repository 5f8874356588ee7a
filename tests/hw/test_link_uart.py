import random

import pytest
from amaranth.sim import Simulator

from systolith.hw.link.uart import PHASE_BITS, UartReceiver, UartTransmitter, phase_step


def bits(byte):
    return [0, *(byte >> i & 1 for i in range(8)), 1]


def receive(line, step):
    """Bytes the receiver makes of a line, one level a clock cycle."""
    dut, received = UartReceiver(step), []

    async def testbench(ctx):
        ctx.set(dut.o.ready, 1)
        for level in line:
            ctx.set(dut.rx, level)
            *_, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                received.append(byte)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return received


def waveform(levels, clocks):
    """Levels of one bit each, ``clocks`` (a float) cycles long."""
    edges = [round(i * clocks) for i in range(len(levels) + 1)]
    return [level for i, level in enumerate(levels) for _ in range(edges[i + 1] - edges[i])]


@pytest.mark.parametrize("clocks", [4.0, 8.33, 33.3])
@pytest.mark.parametrize("skew", [0.98, 1.0, 1.02])
def test_receiver(clocks, skew):
    """Back-to-back bytes from a sender whose clock is 2 % off."""
    sent = random.Random(1).randbytes(20)
    line = [1] * 10 + [level for byte in sent for level in bits(byte)] + [1] * 3
    assert bytes(receive(waveform(line, clocks * skew), phase_step(1.0, 1 / clocks))) == sent


def test_receiver_drops_what_is_no_byte():
    step = phase_step(1.0, 1 / 16)
    glitch = [1] * 40 + [0] * 5 + [1] * 40
    no_stop = waveform([*bits(0x55)[:9], 0, 1, 1, 1], 16)
    good = waveform(bits(0xA3), 16)
    assert receive(glitch + no_stop + [1] * 40 + good + [1] * 9, step) == [0xA3]


@pytest.mark.parametrize("clocks", [4.0, 8.33, 100.0])
def test_transmitter(clocks):
    dut, sent, line = UartTransmitter(phase_step(1.0, 1 / clocks)), [0x00, 0xFF, 0x5A, 0x81], []

    async def feed(ctx):
        for byte in sent:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def watch(ctx):
        for _ in range(int(clocks * 11 * len(sent))):
            *_, level = await ctx.tick().sample(dut.tx)
            line.append(level)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(watch)
    simulator.run()
    decoded, at = [], 0
    while 0 in line[at:]:
        at = line.index(0, at)
        levels = [line[int(at + (i + 0.5) * clocks)] for i in range(10)]
        assert levels[0] == 0 and levels[9] == 1
        decoded.append(sum(level << i for i, level in enumerate(levels[1:9])))
        at += int(9.5 * clocks)
    assert decoded == sent


def test_rates():
    assert phase_step(100e6, 1e6) == round(2 ** PHASE_BITS / 100)
    assert phase_step(48e6, 12e6) == 2 ** PHASE_BITS // 4
    with pytest.raises(ValueError, match="needs a clock of at least 48.0 MHz, not 40.0 MHz"):
        phase_step(40e6, 12e6)
    with pytest.raises(ValueError, match="cannot be made within 1 %"):
        phase_step(100e6, 9600)
