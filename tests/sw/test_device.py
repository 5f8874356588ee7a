from types import SimpleNamespace

import numpy as np
import pytest

import systolith
from systolith.hw.config import Config
from systolith.hw.isa import Fault
from systolith.sim.faulty_channel import FaultyChannel, Odds
from systolith.sim.link_model import DeviceModel
from systolith.sw import device as driver
from systolith.sw.device import Device, DeviceError, LinkBackend
from systolith.sw.link.link import Link, LinkError

CONFIG = Config(rows=4, columns=4, post_lanes=1, banks=1, bank_words=64, program_words=64,
                frame_bytes=32)
#: Where the program below has its buffers, and how far apart the two of each are.
INPUT, INPUT_DELTA, OUTPUT, OUTPUT_DELTA, SIZE = 10, 40, 100, 30, 13


class Negator(DeviceModel):
    """A device whose jobs negate the input buffer, one job finishing every few frames."""

    def __init__(self, config=CONFIG, period=5):
        super().__init__(config)
        self.period, self.frames, self.most = period, 0, 0
        self.fault_at = None

    def advance(self):
        self.frames += 1
        self.most = max(self.most, self.jobs - self.done)
        if self.jobs == self.done or self.frames % self.period:
            return
        odd = self.done % 2
        source = INPUT + 2 + odd * self.registers["INPUT_DELTA"]
        target = OUTPUT + odd * self.registers["OUTPUT_DELTA"]
        for i in range(SIZE):
            self.memory[target + i] = -self.memory[source + i] & 0xFF
        self.done += 1
        self.registers |= {"CYCLES": 1000 + self.done, "ENTRIES": 500}
        if self.done == self.fault_at:
            self.fault = Fault.BAD_INSTRUCTION.value
            self.registers["FAULT_PC"] = 9


def program(config=CONFIG):
    rng = np.random.default_rng(1)
    return SimpleNamespace(
        config=config,
        words=rng.integers(0, 1 << 32, 40, np.uint32),
        segments=[(150, rng.integers(-128, 128, 100).astype(np.int8)),
                  (0, np.arange(5, dtype=np.int8))],
        inputs=[SimpleNamespace(place=lambda job, image: INPUT + job % 2 * INPUT_DELTA,
                                elements=SIZE + 3, span=slice(2, SIZE + 2),
                                tensor=SimpleNamespace(zero_point=9),
                                pack=lambda array: np.pad(array.reshape(-1), (2, 1)))],
        outputs=[SimpleNamespace(place=lambda job, image: OUTPUT + job % 2 * OUTPUT_DELTA,
                                 elements=SIZE, unpack=lambda elements: elements.copy())],
        batch=1, input_delta=INPUT_DELTA, output_delta=OUTPUT_DELTA, predicted_cycles=1000)


def connect(model=None, odds=None):
    model = model or Negator()
    channel = FaultyChannel(model.receive, odds or Odds(), 4)
    device = Device(LinkBackend(Link(channel, clock=channel.clock, retries=50, seed=4)))
    return model, channel, device


def images(count):
    return np.random.default_rng(2).integers(-127, 128, (count, 1, SIZE)).astype(np.int8)


def test_load_puts_everything_in_its_place():
    model, _, device = connect()
    steps = []
    loaded = program()
    device.load(loaded, lambda done, total: steps.append((done, total)))
    assert bytes(model.program[:160]) == loaded.words.tobytes()
    for address, elements in loaded.segments:
        assert bytes(model.memory[address:address + len(elements)]) == elements.tobytes()
    assert model.registers["INPUT_DELTA"] == INPUT_DELTA
    assert model.registers["OUTPUT_DELTA"] == OUTPUT_DELTA
    assert model.registers["WATCHDOG"] > 1000
    for buffer in (INPUT, INPUT + INPUT_DELTA):
        assert [*model.memory[buffer:buffer + 2], model.memory[buffer + SIZE + 2]] == [9] * 3
    assert steps[-1] == (145, 145) and steps == sorted(steps)


@pytest.mark.parametrize("odds", [Odds(), Odds(flip=0.1, drop=0.1, duplicate=0.1, delay=0.1)],
                         ids=["good line", "bad line"])
@pytest.mark.parametrize("period", [1, 6, 9])
def test_run_streams_images(odds, period):
    """Two jobs under way at a time, buffers alternating, each result that of its own image."""
    model, _, device = connect(Negator(period=period), odds)
    device.load(program())
    batch, steps = images(11), []
    run = device.run(batch, progress=lambda done, total: steps.append((done, total)))
    assert np.array_equal(run.outputs[0], -batch[:, 0])
    assert steps == [(i + 1, 11) for i in range(11)]
    assert set(run.entries) == {500} and 1000 < run.cycles_per_image <= 1011
    assert run.images_per_second > 0
    if period > 1 and odds == Odds():
        assert model.most == 2, "the next image must be queued while one computes"
    # A second run goes on with the parity where the first one left it.
    batch = images(4)[::-1]
    assert np.array_equal(device.run(batch).outputs[0], -batch[:, 0])


def test_abandoned_stream():
    _, _, device = connect()
    device.load(program())
    stream = device.stream((image,) for image in images(5))
    next(stream)
    stream.close()
    batch = images(3)
    assert np.array_equal(device.run(batch).outputs[0], -batch[:, 0])


def test_fault_names_the_place():
    model, _, device = connect()
    device.load(program())
    model.fault_at = 2
    with pytest.raises(DeviceError, match="job 2 was stopped: BAD_INSTRUCTION at program word 9 "
                                          "after 1002 cycles"):
        device.run(images(5))
    with pytest.raises(DeviceError, match="no program is loaded"):
        device.run(images(1))
    device.load(program())
    assert len(device.run(images(1)).outputs[0]) == 1


def test_program_for_another_device_is_refused_untouched():
    model, _, device = connect()
    other = Config(name="other", rows=8, columns=4, post_lanes=1)
    with pytest.raises(DeviceError) as caught:
        device.load(program(other))
    assert other.describe() in str(caught.value)
    assert f"4x4 int8, 0 KiB, {CONFIG.hash:08x}" in str(caught.value)
    assert not any(model.memory) and "\n" not in str(caught.value)


def test_instruction_set_of_another_version_is_refused():
    model = Negator()
    model.registers["ISA_VERSION"] = 77
    _, _, device = connect(model)
    with pytest.raises(DeviceError, match="has instruction set 77"):
        device.load(program())


def test_something_else_answers():
    model = Negator()
    model.registers["MAGIC"] = 0x12345678
    with pytest.raises(DeviceError, match=r"answers 0x12345678, .*no Systolith"):
        connect(model)


def test_device_that_vanishes_between_images():
    _, channel, device = connect()
    device.load(program())
    stream = device.stream((image,) for image in images(9))
    next(stream)
    channel._device = lambda data: b""
    with pytest.raises(DeviceError, match="stopped answering"):
        list(stream)


@pytest.mark.parametrize("inputs", [(), (images(0),), (images(1), images(1))])
def test_wrong_number_of_inputs(inputs):
    _, _, device = connect()
    device.load(program())
    with pytest.raises(ValueError, match="takes 1 inputs"):
        device.run(*inputs)


def test_registers_and_memory_of_16_bit_elements():
    config = Config(rows=4, columns=4, post_lanes=1, banks=1, bank_words=64, operand_bits=16,
                    program_words=64, frame_bytes=32)
    model = DeviceModel(config)
    channel = FaultyChannel(model.receive, Odds(), 1)
    backend = LinkBackend(Link(channel, clock=channel.clock, seed=1))
    elements = np.arange(-30, 30, dtype=np.int16)
    backend.write_memory(7, elements)
    assert np.array_equal(backend.read_memory(7, 60), elements)
    assert bytes(model.memory[14:18]) == b"\xe2\xff\xe3\xff"
    backend.write_csr("WATCHDOG", 0xFFFFFFFF)
    assert backend.read_csr("WATCHDOG") == 0xFFFFFFFF
    with pytest.raises(DeviceError, match="refused WRITE_CSR.*READ_ONLY"):
        backend.write_csr("DONE", 1)
        backend.flush()
    backend.submit()
    assert backend.done_count() == 1
    backend.reset()
    assert backend.done_count() == 0


@pytest.mark.parametrize("url", ["", "serial", "usb:0", "serial:", "serial:/dev/x?speed=1",
                                 "serial:/dev/x?baud=fast"])
def test_urls_that_make_no_sense(url):
    with pytest.raises(DeviceError, match=r"names no device|is not understood"):
        driver.open(url)


def test_open_serial_port_that_is_not_there():
    with pytest.raises(DeviceError, match=r"cannot open /dev/nowhere at 1000000 baud"):
        driver.open("serial:/dev/nowhere?baud=1000000")


def test_open_serial_port_without_device():
    with pytest.raises(DeviceError, match="no answer|does not keep a session"):
        driver.open("serial:loop://?baud=1000000")


def test_rates_are_tried_in_turn(monkeypatch):
    tried = []

    def open_link(transport):
        tried.append(transport._serial.baudrate)
        raise LinkError("no answer")

    monkeypatch.setattr(driver, "Link", open_link)
    for url, rates in (("serial:loop://", list(driver.BAUDS)),
                       ("serial:loop://?baud=9600", [9600])):
        with pytest.raises(DeviceError, match="no answer"):
            driver.open(url)
        assert tried == rates
        tried.clear()


def test_open_compares_the_configuration(monkeypatch):
    closed = []

    def open_device(rest, config):
        assert rest == "here"
        model = Negator()
        channel = FaultyChannel(model.receive, Odds(), 1)
        channel.close = lambda: closed.append(True)
        return LinkBackend(Link(channel, clock=channel.clock, seed=1))

    entry = SimpleNamespace(load=lambda: open_device)
    monkeypatch.setattr(driver, "entry_points", lambda **query: [entry])
    with driver.open("fake:here", CONFIG) as device:
        assert device.describe() == f"4x4 int8, 0 KiB, {CONFIG.hash:08x}"
    assert closed == [True]
    with pytest.raises(DeviceError, match="made for"):
        driver.open("fake:here", Config(rows=8, columns=4, post_lanes=1))
    assert closed == [True, True]


def test_the_package_hands_out_the_driver():
    assert systolith.Device is Device and systolith.DeviceError is DeviceError
    with pytest.raises(AttributeError, match="no attribute 'Devices'"):
        _ = systolith.Devices
