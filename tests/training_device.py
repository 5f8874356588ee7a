"""Training devices to be looked at: item by item, or beside the golden model."""

from unittest import mock

import numpy as np

from systolith.hw.config import Config
from systolith.sim.training.golden import GoldenExecutor
from systolith.sw.timing import measure
from systolith.sw.train.builder import NetworkBuilder
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.loss import written
from systolith.sw.train.lowering import lower, memory
from systolith.sw.train.steps import gradient_of
from tests.training_networks import branches, finished


def config(**fields) -> Config:
    """Return a small training device."""
    fields = {"rows": 8, "columns": 4, "operand_bits": 16, "accumulator_bits": 48, "banks": 2,
              "bank_words": 1024, "output_stationary": True, "training": True} | fields
    return Config(post_lanes=fields["columns"], **fields)


def everything():
    """Return a network of strides, padding, a residual block, branches, averages, all maxima.

    Some of its maps are too large for an accumulator store of 128 sums.
    """
    builder = NetworkBuilder("everything", (13, 11, 2))
    builder.conv(5, (3, 3), stride=(2, 1), pads=(1, 1, 1, 1), rectify=True)
    before = builder.network.output
    builder.conv(5, (3, 3), pads=(1, 1, 1, 1))
    builder.add(before, rectify=True)
    builder.max_pool((2, 2), (2, 3))
    branches(builder)
    builder.max_pool((3, 2), (1, 1), (1, 1, 2, 0))
    builder.conv(9, (2, 2), pads=(1, 0, 0, 1))
    builder.average_pool((2, 2), (1, 2), (0, 0, 1, 0))
    builder.rectify()
    builder.dense(4)
    return finished(builder)


class Timed(DeviceExecutor):
    """A device whose every job takes as many cycles as predicted."""

    def run(self, program, seed):
        before = self.cycles
        super().run(program, seed)
        assert self.cycles - before == measure(self.config, program.words).cycles


def _singly(items, network, device_config):
    """Return items one by one, as :func:`fused_steps` where nothing may be fused."""
    return [(item,) for item in items]


class Traced(DeviceExecutor):
    """A device on which each item of a step is a job, so that every tensor can be read."""

    def __init__(self, *arguments):
        with mock.patch.object(memory, "fused_steps", _singly):
            super().__init__(*arguments)

    def trace(self, x, targets, exponents, seed):
        """Run forward, loss and backward; return what each item wrote, records left out."""
        plan, values = self.stacking.plan, {self.plan.network.input: x}
        self.write_map(plan.network.input, self.stacking.input(x))
        self.write_map(plan.loss.targets, written(plan.loss, targets))
        for item in plan.items:
            self.run(lower.lower_items([item], plan.network, self.config, self.memory, exponents,
                                       len(x)), seed)
            name = item.result
            values[name] = (self.read_map(name, len(x)) if name in self.memory.maps
                            else self.read(name))
        return values


class Compared:
    """An executor that runs everything on both and returns what the device returns."""

    def __init__(self, plan, backend, device_config, images, device=DeviceExecutor):
        self.plan = plan
        self.device = device(plan, backend, device_config, images)
        self.golden = GoldenExecutor(plan, self.device.places(), self.device.chunks())

    def _both(self, name, *arguments):
        expected = getattr(self.golden, name)(*arguments)
        got = getattr(self.device, name)(*arguments)
        self._compare_memory()
        return expected, got

    def _compare_memory(self):
        for name, values in self.golden.arrays.items():
            np.testing.assert_array_equal(self.device.read(name), values, name)

    def upload(self, arrays):
        self._both("upload", arrays)

    def rescale(self, name, by):
        self._both("rescale", name, by)

    def download(self):
        return self.device.download()

    def predict(self, x, exponents):
        expected, got = self._both("predict", x, exponents)
        np.testing.assert_array_equal(got, expected)
        return got

    def accumulate(self, x, targets, exponents, seed):
        expected, got = self._both("accumulate", x, targets, exponents, seed)
        assert got == expected
        assert gradient_of(self.plan.trained[0]) in got.ranges
        return got

    def update(self, rule, exponents, seed):
        expected, got = self._both("update", rule, exponents, seed)
        assert got == expected
        return got
