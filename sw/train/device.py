"""The executor that trains on a device: a micro-batch is a job, and an update."""

from collections.abc import Mapping, Sequence

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Fault
from systolith.sw.backend import PROGRESS, Backend, DeviceError
from systolith.sw.train.executor import Report, Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.loss import value, written
from systolith.sw.train.lowering.job import Program
from systolith.sw.train.lowering.lower import lower_items, lower_update
from systolith.sw.train.lowering.memory import (
    REPORT_ELEMENTS,
    Map,
    from_device,
    most_images,
    padded,
    plan_memory,
    to_device,
)
from systolith.sw.train.lowering.stacking import stack
from systolith.sw.train.numerics import Range, finish
from systolith.sw.train.steps import Item

__all__ = ["DeviceExecutor", "micro_batch"]


def micro_batch(plan: Plan, config: Config, batch: int) -> int:
    """Return how many images a device takes at once: in as few parts as fit, of equal size.

    At least 1, even if that does not fit.
    """
    parts = -(-batch // max(1, most_images(stack(plan, config).plan, config, batch)))
    return -(-batch // parts)


class DeviceExecutor:
    """Runs a plan on a device; an :class:`systolith.sw.train.executor.Executor`.

    Parameters
    ----------
    plan : Plan
        The items of a training step.
    backend : Backend
        The device.
    config : Config
        Its configuration, with ``training``.
    images : int
        Largest micro-batch.

    Attributes
    ----------
    cycles : int
        Clock cycles of all jobs so far; 0 where the device does not count them.
    programs : dict of tuple to Program
        The latest that have been made, by job (``forward``, ``accumulate``, ``update``), its images
        or rule, and the exponents.

    Raises
    ------
    CapacityError
        If so many images do not fit the device.
    """

    def __init__(self, plan: Plan, backend: Backend, config: Config, images: int):
        if not config.training:
            raise DeviceError(f"{config.describe()} cannot train: use a target with training")
        if backend.identify()["CONFIG_HASH"] != config.hash:
            raise DeviceError(f"the device is not {config.describe()}: load its bitstream, or name "
                              "its target")
        self.plan, self.backend, self.config, self.images = plan, backend, config, images
        #: The plan as the device runs it.
        self.stacking = stack(plan, config)
        self.memory = plan_memory(self.stacking.plan, config, images)
        self.cycles = 0
        self.programs: dict[tuple, Program] = {}

    # -- parameters --------------------------------------------------------------------------

    def upload(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write parameters and gradients, int16 by name."""
        for name, values in arrays.items():
            if name in self.memory.arrays:
                self._write(name, values)

    def download(self) -> dict[str, np.ndarray]:
        """Return parameters and gradients, int16 by name."""
        return {name: self.read(name) for name in self.memory.arrays}

    def rescale(self, name: str, by: int) -> None:
        """Shift a parameter or gradient right by ``by`` bits (left if negative)."""
        wide = self.read(name).astype(np.int64)
        values, _ = finish(wide << max(0, -by), max(0, by))
        self._write(name, values)

    def places(self) -> dict[str, np.ndarray]:
        """Return the address of every element of trained parameters and their gradients."""
        return {name: self.stacking.unstacked(name, places)
                for name, places in self.memory.places(self.stacking.plan).items()}

    def chunks(self) -> dict[str, int]:
        """Return the images over which some gradients are summed, less than a micro-batch."""
        return dict(self.memory.chunks)

    def _write(self, name: str, values: np.ndarray) -> None:
        elements = to_device(self.stacking.stacked(name, values))
        whole = np.zeros(padded(elements.size, self.config), np.int16)
        whole[:elements.size] = elements         # an update leaves zeros as they are
        self.backend.write_memory(self.memory.arrays[name], whole)

    def read(self, name: str) -> np.ndarray:
        """Return a parameter or its gradient, int16."""
        parameter = name.removeprefix("gradient of ")
        values = self.stacking.plan.network.parameters[parameter]
        flat = self.backend.read_memory(self.memory.arrays[name], values.size)
        return self.stacking.unstacked(name, from_device(flat, values.shape))

    # -- jobs --------------------------------------------------------------------------------

    def predict(self, x: np.ndarray, exponents: Mapping[str, int]) -> np.ndarray:
        """Return the logits int16[n, h, w, c] of int16[n, h, w, c]."""
        plan, parts = self.stacking.plan, []
        for start in range(0, len(x), self.images):
            part = x[start:start + self.images]
            self._items("forward", plan.forward, part, exponents, 0)
            parts.append(self.read_map(plan.network.output, len(part)))
        return np.concatenate(parts)

    def accumulate(self, x: np.ndarray, targets: np.ndarray, exponents: Mapping[str, int],
                   seed: int) -> Report:
        """Run forward, loss and backward on a micro-batch and add to the gradients."""
        plan = self.stacking.plan
        self.write_map(plan.loss.targets, written(plan.loss, targets))
        program = self._items("accumulate", plan.items, x, exponents, seed)
        loss, correct = value(plan.loss, self.read_map(plan.loss.kept, len(x)), targets, exponents)
        return Report(len(x), loss, correct, self._ranges(program))

    def update(self, rule: Rule, exponents: Mapping[str, int], seed: int) -> Report:
        """Change parameters by their gradients, and leave what momentum and decay keep of them."""
        program = self._program(("update", rule), exponents, lambda: lower_update(
            self.stacking.plan, self.config, self.memory, exponents, rule))
        self.run(program, seed)
        return Report(ranges=self._ranges(program))

    def _items(self, job: str, items: Sequence[Item], x: np.ndarray, exponents: Mapping[str, int],
               seed: int) -> Program:
        """Run items on some images; return their program."""
        plan = self.stacking.plan
        program = self._program((job, len(x)), exponents, lambda: lower_items(
            items, plan.network, self.config, self.memory, exponents, len(x)))
        self.write_map(plan.network.input, self.stacking.input(x))
        self.run(program, seed)
        return program

    def _program(self, key: tuple, exponents: Mapping[str, int], make) -> Program:
        """Return a program, made only once for the same numbers."""
        whole = (*key, tuple(sorted(exponents.items())))
        if whole not in self.programs:
            if len(self.programs) > 16:         # rates and exponents change now and then
                self.programs.clear()
            self.programs[whole] = make()
        return self.programs[whole]

    def run(self, program: Program, seed: int) -> None:
        """Write a job and run it."""
        backend = self.backend
        for address, values in program.constants.items():
            backend.write_memory(address, values)
        backend.write_program(program.seeded(seed))
        jobs = backend.done_count()
        backend.submit()
        progress = backend.read_csrs(PROGRESS)
        while progress["DONE"] == jobs and not progress["STATUS"] >> 4 & 15:
            progress = backend.read_csrs(PROGRESS)
        fault = progress["STATUS"] >> 4 & 15
        if fault:
            raise DeviceError(f"the device stopped a training step at word {progress['FAULT_PC']}: "
                              f"{Fault(fault).name}")
        self.cycles += progress["CYCLES"]

    def _ranges(self, program: Program) -> dict[str, Range]:
        reports = self.memory.reports
        first = min(reports.values())
        whole = self.backend.read_memory(first, self.memory.report_elements).view(np.uint16)
        ranges = {}
        for name, part in program.reported:
            start = reports[name] + part * REPORT_ELEMENTS - first
            bits, low, high = (int(n) for n in whole[start:start + REPORT_ELEMENTS])
            found = Range(bits.bit_length(), low | high << 16)
            ranges[name] = ranges.get(name, Range()) | found
        return ranges

    # -- maps --------------------------------------------------------------------------------

    def write_map(self, name: str, values: np.ndarray) -> None:
        """Write a map, int16[n, h, w, c], zeros around it."""
        place = self.memory.maps[name]
        whole = np.zeros((len(values), *_outline(place)), np.int16)
        _inner(whole, place)[:] = values
        self.backend.write_memory(place.base, whole.ravel())

    def read_map(self, name: str, images: int) -> np.ndarray:
        """Return a map of some images as it lies in memory now, int16[n, h, w, c]."""
        place = self.memory.maps[name]
        flat = self.backend.read_memory(place.base, images * place.image)
        return _inner(flat.reshape(images, *_outline(place)), place)


def _outline(place: Map) -> tuple[int, int, int]:
    """Return rows, columns and channels of a map with its halo."""
    (top, left, bottom, right), (height, width, channels) = place.halo, place.shape
    return top + height + bottom, left + width + right, channels


def _inner(whole: np.ndarray, place: Map) -> np.ndarray:
    """Return the view of a map without its halo."""
    (top, left, *_), (height, width, _) = place.halo, place.shape
    return whole[:, top:top + height, left:left + width]
