"""What may run side by side, and that a program is worked out once."""

import numpy as np
import pytest

from systolith.sim.machine_device import MachineDevice
from systolith.sim.training import machine
from systolith.sim.training.batch import Batch, Range, batches
from systolith.sim.training.schedule import Fill, Group, Passes
from systolith.sw.program_view import instructions
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer
from tests.training_device import config
from tests.training_networks import patches, small

FORM = {"left": 0, "right": 0, "rectify": 0, "stochastic": 0, "masked": 0, "recording": 0,
        "comparing": 0, "counted": 0, "turn": 0}


def group(source, target, *, tile=0, sums=0, report=None, **form):
    """Return a group that multiplies a vector of two by a 2 x 2 tile."""
    vector = np.array([[[source, source + 1]]])
    passes = Passes(vector, np.array([[[tile, tile + 1], [tile + 2, tile + 3]]]),
                    np.array([[sums]]), np.array([True]), False)
    return Group(FORM | form, np.array([sums]), np.array([True]),
                 np.array([[target, target + 1]]), None, None, None, report, None, [passes])


def sizes(*steps):
    return [step.groups if isinstance(step, Batch) else "fill" for step in batches(steps, 64)]


@pytest.mark.parametrize(("steps", "expected"), [
    ([group(10, 20), group(12, 22), group(14, 24)], [3]),
    ([group(10, 20), group(12, 22, sums=5)], [2]),
    ([group(10, 20), group(20, 22)], [1, 1]),                    # reads what the first wrote
    ([group(10, 20), group(12, 19)], [1, 1]),                    # writes there too
    ([group(10, 20), group(12, 22, tile=18)], [1, 1]),
    ([group(10, 20), group(12, 22, right=1)], [1, 1]),
    ([group(10, 20, report=40), group(12, 22)], [1, 1]),
    ([group(10, 20), group(12, 22, report=40)], [2]),
    ([group(10, 20), Fill(np.array([[30]])), group(12, 22)], [1, "fill", 1]),
    ([group(20, 10), group(10, 30), group(12, 32)], [1, 2]),
], ids=range(10))
def test_side_by_side(steps, expected):
    assert sizes(*steps) == expected


def test_order_is_kept():
    """A group finds what the one before it wrote."""
    memory = np.zeros(64, np.int16)
    memory[:4] = 1, 0, 0, 1
    memory[10:12] = 3, 4
    for step in batches([group(10, 20), group(20, 22), group(22, 24)], 64):
        step.run(memory, np.zeros(0, np.uint32), Range())
    assert memory[20:26].tolist() == [3, 4] * 3


def test_a_program_is_worked_out_once(monkeypatch):
    """Another seed is no other program, but another number is."""
    decoded = []

    def counted(words, **options):
        decoded.append(words)
        return instructions(words, **options)

    monkeypatch.setattr(machine, "instructions", counted)
    plan, device = plan_training(small()), config()
    executor = DeviceExecutor(plan, MachineDevice(device), device, 2)
    trainer = Trainer(plan, executor, Settings(epochs=1, batch=4, micro_batch=2, rate=0.01),
                      *patches())
    made = len(decoded)
    for seed in range(3):
        for each in executor.programs.values():
            executor.run(each, seed)
    assert len(decoded) == made
    trainer.run()
    assert len(decoded) > made                   # the update
