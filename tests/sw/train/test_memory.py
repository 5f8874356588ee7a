"""The memory of a training step: nothing lies on anything else, what is read together is apart."""

import itertools
from dataclasses import replace

import pytest

from systolith.boards.targets import find_config
from systolith.examples.fixed_point import lenet
from systolith.sim.machine_device import MachineDevice
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.gradients import plan_training

CONFIG = find_config("ulx3s-85f-train")


def memory(config, images):
    """Return the memory plan of LeNet-5, and a function of a map: its banks."""
    executor = DeviceExecutor(plan_training(lenet(1)), MachineDevice(config), config, images)
    bank = config.bank_words * config.lanes

    def banks(name):
        place = executor.memory.maps[name]
        return set(range(place.base // bank, (place.base + images * place.image - 1) // bank + 1))

    return executor.memory, banks


@pytest.mark.parametrize("images", [8, 11])
def test_what_a_chunk_reads_lies_in_banks_apart(images):
    _, banks = memory(CONFIG, images)
    read = [banks(name) for name in ("record of maxpool1.y", "x", "gradient of maxpool1.y")]
    assert all(not one & other for one, other in itertools.combinations(read, 2))


@pytest.mark.parametrize("config,images", [
    (CONFIG, 1), (CONFIG, 2), (CONFIG, 11), (replace(CONFIG, banks=2, bank_words=8192), 11),
], ids=["1", "2", "11", "11 in too few banks for what is read"])
def test_arrays_and_what_always_lives_lie_apart(config, images):
    plan, _ = memory(config, images)
    shapes = plan_training(lenet(1)).network.parameters
    spans = [(place, place + shapes[name.removeprefix("gradient of ")].size)
             for name, place in plan.arrays.items()]
    spans += [(plan.maps["x"].base, plan.maps["x"].base + images * plan.maps["x"].image),
              (min(plan.reports.values()),
               min(plan.reports.values()) + plan.report_elements)]
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert spans[0][0] > max(plan.diagonals) and plan.used <= config.memory_elements
