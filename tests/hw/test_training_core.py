"""The whole core of a training device: RTL, machine and cycle model agree on the jobs of a step."""

import numpy as np
import pytest

from systolith.sim.machine_device import MachineDevice
from systolith.sw.timing import measure
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.lowering.lower import lower_items, lower_update
from systolith.sw.train.lowering.memory import plan_memory
from tests.hw.core_bench import run_core
from tests.training_device import config
from tests.training_networks import small

CONFIG = config(rows=4, columns=4, accumulator_depth=64, bank_words=128)
IMAGES = 2
RULE = Rule(rate=0.02, batch=4, momentum=0.9, decay=5e-4)


def jobs(network, device=CONFIG, loss="cross-entropy"):
    """Return the programs of a step, with gradients of finer steps than the rest, and memory."""
    plan = plan_training(network, loss)
    memory = plan_memory(plan, device, IMAGES)
    exponents = {name: -16 if "gradient" in name else -10
                 for name in (*network.shapes, *memory.maps, *memory.arrays)}
    parts = {"forward": plan.forward, "loss": [plan.loss], "backward": plan.backward,
             "accumulate": plan.items}
    programs = {name: lower_items(items, network, device, memory, exponents, IMAGES)
                for name, items in parts.items()}
    programs["update"] = lower_update(plan, device, memory, exponents, RULE)
    targets = memory.maps[plan.loss.targets]
    return programs, targets if loss == "cross-entropy" else None


def compare(program, labels=None, device=CONFIG):
    """Run a job on noise, but labels; memory afterwards and cycles are those of the models."""
    random = np.random.default_rng(len(program.words))
    memory = random.integers(-3000, 3000, device.memory_elements).astype(np.int16)
    if labels is not None:
        memory[labels.base:labels.base + IMAGES * labels.image] = 1
    for address, values in program.constants.items():
        memory[address:address + len(values)] = values
    words = program.seeded(int(random.integers(1, 1 << 32)))
    machine = MachineDevice(device)
    machine.write_memory(0, memory)
    machine.write_program(words)
    machine.submit()
    after, cycles = run_core(device, words, memory)
    np.testing.assert_array_equal(after, machine.read_memory(0, device.memory_elements))
    assert cycles == [measure(device, words).cycles]


@pytest.mark.parametrize("job", ["forward", "loss", "backward", "accumulate", "update"])
def test_a_step(job):
    programs, labels = jobs(small())
    compare(programs[job], labels)


def test_squared_error():
    programs, _ = jobs(small(), loss="mse")
    compare(programs["loss"])
