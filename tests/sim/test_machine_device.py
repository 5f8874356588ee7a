"""The driver over the instruction-level machine: whole images in, whole results out."""

import numpy as np
import pytest

from systolith.hw import isa
from systolith.hw.config import Config
from systolith.hw.isa import Engine, GoHeader, Op, SetHeader
from systolith.sim.machine_device import MachineDevice, open_device
from systolith.sw import device as driver
from systolith.sw.backend import DeviceError
from systolith.sw.device import Device
from systolith.sw.errors import CapacityError
from tests.compiled import CONFIGS, random_case

CONFIG = CONFIGS["tall"]
END = isa.encode(GoHeader, op=Op.END)


def prepared(seed=3, config=CONFIG, images=5, **options):
    """Return a case and a device whose memory is noise, the case's program loaded."""
    rng = np.random.default_rng(seed)
    case = random_case(rng, config, images=images,
                       **{"layers": 3, "size": 6, "channels": 6} | options)
    backend = MachineDevice(config)
    backend.write_memory(0, rng.integers(-128, 128, config.memory_elements, np.int8))
    device = Device(backend)
    device.load(case.program)
    return case, device


def arrays(case):
    """Return the inputs as the model's user has them: channels first, one array for each port."""
    return [case.inputs[b.port.tensor].transpose(0, 3, 1, 2) for b in case.program.inputs]


def compare(case, outputs):
    for buffer, got in zip(case.program.outputs, outputs, strict=True):
        expected = case.expected[buffer.port.tensor].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", ["tall", "steps", "odd", "wide"])
def test_batch(name):
    case, device = prepared(config=CONFIGS[name])
    run = device.run(*arrays(case))
    compare(case, run.outputs)
    # images that finished unseen between two looks have no figures of their own
    assert set(run.cycles) == {case.program.predicted_cycles}
    assert len(set(run.entries)) == 1


def test_several_outputs():
    case, device = prepared(all_outputs=True)
    assert len(case.program.outputs) > 1
    compare(case, device.run(*arrays(case)).outputs)


class Recorder(MachineDevice):
    """A machine that writes down where images go and come from."""

    def __init__(self, config):
        super().__init__(config)
        self.calls = []
        self.end = None

    def write_memory(self, address, elements):
        if address != self.end:                  # else what was written before goes on
            self.calls.append(("write", address))
        self.end = address + len(elements)
        super().write_memory(address, elements)

    def fetch_memory(self, address, count):
        self.calls.append(("read", address))
        return super().fetch_memory(address, count)

    def submit(self):
        self.calls.append(("submit", None))
        self.end = None
        super().submit()


def recorded(case, config=CONFIG):
    device = Device(Recorder(config))
    device.load(case.program)
    device.backend.calls.clear()
    results = list(device.stream(zip(*arrays(case), strict=True)))
    compare(case, [np.stack(column) for column in zip(*(r.outputs for r in results), strict=True)])
    return device.backend.calls


def test_images_take_turns_in_two_buffers():
    case, _ = prepared()
    program = case.program
    assert program.input_delta and program.output_delta
    calls = recorded(case)
    (source,), (sink,) = program.inputs, program.outputs
    even_odd = [0, 1, 0, 1, 0]
    assert [a for kind, a in calls if kind == "write"] == [
        source.address + odd * source.delta for odd in even_odd]
    assert [a for kind, a in calls if kind == "read"] == [
        sink.address + odd * sink.delta for odd in even_odd]
    kinds = [kind for kind, _ in calls]
    assert kinds == [*["write", "submit"] * 2, *["read", "write", "submit"] * 3, "read", "read"], (
        "two jobs under way; a result is asked for before the next image is written")


def test_one_buffer_where_two_do_not_fit():
    """Without room for two buffers every result is asked for before the next image is written."""
    config = Config(rows=4, columns=4, post_lanes=4, banks=1, bank_words=64, frame_bytes=64,
                    accumulator_depth=64)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        try:
            case = random_case(rng, config, images=4, layers=1, kinds=("pointwise",), size=8,
                               channels=4)
        except CapacityError:
            continue
        if not case.program.input_delta and not case.program.output_delta:
            break
    calls = recorded(case, config)
    assert [kind for kind, _ in calls] == ["write", "submit", "read"] * 4


def test_second_batch_and_second_program():
    """Parity starts anew with a program, and goes on between batches."""
    case, device = prepared(images=3)
    for _ in range(3):
        compare(case, device.run(*arrays(case)).outputs)
    other, _ = prepared(seed=4, images=3)
    device.load(other.program)
    compare(other, device.run(*arrays(other)).outputs)


def test_other_configuration_is_refused():
    case, _ = prepared()
    device = Device(MachineDevice(CONFIGS["odd"]))
    before = device.backend.read_memory(0, CONFIGS["odd"].memory_elements)
    with pytest.raises(DeviceError, match="made for .*4x2 int8.* but the device is .*5x3 int8"):
        device.load(case.program)
    np.testing.assert_array_equal(
        device.backend.read_memory(0, CONFIGS["odd"].memory_elements), before)


@pytest.mark.parametrize("words", [
    [3, END],
    [isa.encode(GoHeader, op=Op.GO, engine=Engine.LOAD)],
    [isa.encode(SetHeader, op=Op.SET, engine=Engine.LOAD, first=6, count=2), 0, 0, END],
], ids=["opcode", "no end", "register"])
def test_bad_instruction_is_a_fault(words):
    case, device = prepared()
    device.backend.write_program(np.array(words, np.uint32))
    with pytest.raises(DeviceError, match=r"stopped: BAD_INSTRUCTION.*load the program"):
        device.run(*arrays(case))
    with pytest.raises(DeviceError, match="no program is loaded"):
        device.run(*arrays(case))
    device.load(case.program)
    compare(case, device.run(*arrays(case)).outputs)


@pytest.mark.parametrize("address, count", [(-1, 4), (CONFIG.memory_elements - 3, 4)])
def test_transfer_beyond_memory(address, count):
    backend = MachineDevice(CONFIG)
    message = f"{count} elements at {address} lie beyond the {CONFIG.memory_elements} of memory"
    with pytest.raises(DeviceError, match=message):
        backend.write_memory(address, np.zeros(count, np.int8))
    with pytest.raises(DeviceError, match=message):
        backend.read_memory(address, count)


def test_program_beyond_program_memory():
    backend = MachineDevice(CONFIG)
    with pytest.raises(DeviceError, match="4097 elements at 0 lie beyond the 4096 of the program"):
        backend.write_program(np.zeros(4097, np.uint32))


def test_what_is_read_stays_as_it_was():
    backend = MachineDevice(CONFIG)
    before = backend.read_memory(10, 4)
    backend.write_memory(10, np.arange(4, dtype=np.int8))
    assert before.tolist() == [0, 0, 0, 0]
    assert backend.read_memory(10, 4).tolist() == [0, 1, 2, 3]


def test_url():
    case, _ = prepared()
    with driver.open("machine:", CONFIG) as device:
        device.load(case.program)
        compare(case, device.run(*arrays(case)).outputs)
    with pytest.raises(DeviceError, match="give it a configuration or a program"):
        driver.open("machine:")
    with pytest.raises(DeviceError, match="machine: takes nothing behind it, not 'fast'"):
        open_device("fast", CONFIG)
