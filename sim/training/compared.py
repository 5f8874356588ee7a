"""Executors side by side: what one returns and keeps must be what the others do, in every bit."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from systolith.hw.config import Config
from systolith.sim.training.golden import GoldenExecutor
from systolith.sw.device import Device
from systolith.sw.errors import SystolithError
from systolith.sw.train.device import DeviceExecutor, micro_batch
from systolith.sw.train.executor import Executor, Report, Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

__all__ = ["Compared", "Difference", "compared_trainer"]


class Difference(SystolithError):
    """Executors that must agree do not; the message says in what."""


class Compared:
    """Runs every job on all executors; an :class:`systolith.sw.train.executor.Executor`.

    Reports are compared after every job, parameters and gradients when they are downloaded.

    Parameters
    ----------
    **executors : Executor
        By the names they have in messages; what the first one returns is returned.

    Raises
    ------
    Difference
        From any call, where they do not agree.
    """

    def __init__(self, **executors: Executor):
        self.executors = executors

    def upload(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write parameters and gradients."""
        self._all("upload", arrays)

    def download(self) -> dict[str, np.ndarray]:
        """Return parameters and gradients."""
        first, *others = self._all("download").items()
        for name, arrays in others:
            for array, values in first[1].items():
                if not np.array_equal(arrays[array], values):
                    raise Difference(f"{array} differs between {first[0]} and {name}; please "
                                     "report it")
        return first[1]

    def predict(self, x: np.ndarray, exponents: Mapping[str, int]) -> np.ndarray:
        """Return the logits."""
        first, *others = self._all("predict", x, exponents).items()
        for name, logits in others:
            if not np.array_equal(logits, first[1]):
                raise Difference(f"logits differ between {first[0]} and {name}; please report it")
        return first[1]

    def accumulate(self, x: np.ndarray, targets: np.ndarray, exponents: Mapping[str, int],
                   seed: int) -> Report:
        """Run forward, loss and backward."""
        return self._report("accumulate", x, targets, exponents, seed)

    def update(self, rule: Rule, exponents: Mapping[str, int], seed: int) -> Report:
        """Change parameters."""
        return self._report("update", rule, exponents, seed)

    def rescale(self, name: str, by: int) -> None:
        """Shift a parameter or gradient."""
        self._all("rescale", name, by)

    def _all(self, method: str, *arguments) -> dict:
        return {name: getattr(executor, method)(*arguments)
                for name, executor in self.executors.items()}

    def _report(self, method: str, *arguments) -> Report:
        first, *others = self._all(method, *arguments).items()
        for name, report in others:
            if report != first[1]:
                raise Difference(f"{first[0]} and {name} report different ranges or losses of "
                                 f"{method}; please report it")
        return first[1]


def compared_trainer(plan: Plan, config: Config, settings: Settings, x: np.ndarray,
                     targets: np.ndarray, *,
                     validation: tuple[np.ndarray, np.ndarray] | None = None,
                     **devices: Device) -> tuple[Trainer, list[DeviceExecutor]]:
    """Return what trains on devices of one configuration and on the golden model beside them.

    Micro-batches are as large as fit. The golden model alone finds the first exponents: the devices
    would find the same.

    Parameters
    ----------
    plan, settings, x, targets, validation
        As of a :class:`Trainer`.
    config : Config
        Of the devices.
    **devices : Device
        By the names they have in messages.

    Raises
    ------
    CapacityError, UnsupportedError
        If the devices do not run this network.
    """
    images = micro_batch(plan, config, settings.batch)
    executors = {name: DeviceExecutor(plan, opened.backend, config, images)
                 for name, opened in devices.items()}
    trained = list(executors.values())
    golden = GoldenExecutor(plan, trained[0].places(), trained[0].chunks())
    trainer = Trainer(plan, golden, replace(settings, micro_batch=images), x, targets,
                      validation=validation)
    trainer.executor = Compared(**executors, golden=golden)
    trainer.executor.upload(trainer.scales.stored())
    return trainer, trained
