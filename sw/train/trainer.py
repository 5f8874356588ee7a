"""The training loop: batches through an executor, scales after them, until it is enough."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from systolith.sw.errors import CapacityError, DataError, TrainingError
from systolith.sw.train.checkpoint import load_checkpoint, save_checkpoint
from systolith.sw.train.data import Samples, batches, largest_input, prepare
from systolith.sw.train.executor import Executor, Report, Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.numerics import MAX_TERMS, Range, next_seed
from systolith.sw.train.scales import Change, Scales
from systolith.sw.train.settings import Settings
from systolith.sw.train.steps import CrossEntropy

__all__ = ["Epoch", "Step", "Trainer", "fingerprint"]

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Step:
    """What one update did."""

    number: int
    epoch: int
    loss: float
    accuracy: float
    rate: float
    #: Saturated results, of all tensors.
    saturated: int
    #: Exponents that changed after it.
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the samples reached."""

    number: int
    #: Mean over the epoch's samples, while they were trained on.
    loss: float
    accuracy: float
    saturated: int
    rate: float
    #: After the epoch; None without validation samples.
    validation: float | None


class Trainer:
    """Trains a network on an executor.

    Parameters
    ----------
    plan : Plan
        The items of a training step.
    executor : Executor
        What runs them.
    settings : Settings
        Options.
    x, targets : arrays
        Training samples, see :func:`systolith.sw.train.data.prepare`.
    validation : pair of arrays, optional
        Samples that measure the accuracy after every epoch; only with the cross-entropy.
    checkpoint : path, optional
        Where to keep what a later run resumes from.
    on_step, on_epoch : function, optional
        Called with every :class:`Step`, every :class:`Epoch`.

    Attributes
    ----------
    history : list of Epoch
        Epochs that are complete.
    stopped : str or None
        Why training ended.

    Raises
    ------
    DataError
        If samples do not match the network.
    CapacityError
        If sums over a micro-batch might leave the accumulators.
    TrainingError
        If settings and samples do not go together.
    """

    def __init__(self, plan: Plan, executor: Executor, settings: Settings, x: np.ndarray,
                 targets: np.ndarray, *, validation: tuple[np.ndarray, np.ndarray] | None = None,
                 checkpoint: str | Path | None = None,
                 on_step: Callable[[Step], None] | None = None,
                 on_epoch: Callable[[Epoch], None] | None = None):
        self.plan, self.executor, self.settings = plan, executor, settings
        self.scales = Scales(plan, largest_input(plan, x))
        exponent = self.scales.exponents[plan.network.input]
        self.samples = prepare(plan, x, targets, exponent)
        if validation and not isinstance(plan.loss, CrossEntropy):
            raise TrainingError(f"{plan.network.name}: validation measures the accuracy, which "
                                "only the cross-entropy has: leave it out")
        if settings.accuracy is not None and validation is None:
            raise TrainingError(f"{plan.network.name}: to stop at an accuracy of "
                                f"{settings.accuracy:g} there must be validation samples")
        self.validation = prepare(plan, *validation, exponent) if validation else None
        self.checkpoint = checkpoint
        self.on_step, self.on_epoch = on_step, on_epoch
        self.history: list[Epoch] = []
        self.stopped: str | None = None
        self._seed = settings.seed
        self._number = 0                         # steps done
        self._within = 0                         # of them, in the current epoch
        self._running = Report()                 # of the current epoch
        self._best: tuple[float, dict[str, np.ndarray], dict[str, int]] | None = None
        self._check()
        self._calibrate()

    # -- beginning ---------------------------------------------------------------------------

    def _check(self) -> None:
        settings, name = self.settings, self.plan.network.name
        if len(self.samples) < settings.batch:
            raise DataError(f"{name}: {len(self.samples)} samples do not fill a batch of "
                            f"{settings.batch}")
        shapes = self.plan.network.shapes
        for item in self.plan.items:
            if item.terms(settings.micro, shapes) > MAX_TERMS:
                largest = max((n for n in range(1, settings.micro)
                               if item.terms(n, shapes) <= MAX_TERMS), default=0)
                advice = f"the largest micro-batch is {largest}" if largest else "it is too large"
                raise CapacityError(
                    f"{name}: {item.result} sums {item.terms(settings.micro, shapes)} products, "
                    f"an accumulator holds {MAX_TERMS}: {advice}")

    def _calibrate(self) -> None:
        first = next(batches(len(self.samples), self.settings.batch, self.settings.seed, 0))

        def measure(_):
            self.executor.upload(self.scales.stored())
            return self._accumulate(first).ranges

        self.scales.calibrate(measure)
        self.executor.upload(self.scales.stored())
        self._seed = self.settings.seed

    # -- the loop ----------------------------------------------------------------------------

    def run(self) -> list[Epoch]:
        """Train until a criterion holds; return the history.

        Raises
        ------
        TrainingError
            If training diverges, or the learning rate does not fit the numbers.
        """
        while self.stopped is None:
            self._epoch()
        return self.history

    def _epoch(self) -> None:
        number, settings = len(self.history), self.settings
        order = list(batches(len(self.samples), settings.batch, settings.seed, number))
        while self._within < len(order):
            rate = settings.rate * settings.schedule.factor(number + self._within / len(order))
            step = self._step(order[self._within], rate)
            self._within += 1
            self._number += 1
            if self.on_step is not None:
                self.on_step(step)
            if (self.checkpoint is not None and settings.checkpoint_steps
                    and self._number % settings.checkpoint_steps == 0):
                self.save()
        running = self._running
        accuracy = None if self.validation is None else self._accuracy(self.validation)
        epoch = Epoch(number, running.loss / running.samples, running.correct / running.samples,
                      _saturated(running), rate, accuracy)
        self._keep_best(epoch)
        self.history.append(epoch)
        self._within, self._running = 0, Report()
        self.stopped = self._enough()
        if self.checkpoint is not None:
            self.save()
        if self.on_epoch is not None:
            self.on_epoch(epoch)

    def _step(self, indices: np.ndarray, rate: float) -> Step:
        settings = self.settings
        report = self._accumulate(indices)
        rule = Rule(rate=rate, batch=settings.batch, momentum=settings.momentum,
                    decay=settings.decay)
        try:
            report.add(self.executor.update(rule, self.scales.exponents, self._next()))
        except OverflowError as error:
            raise TrainingError(
                f"{self.plan.network.name}: an update at learning rate {rate:g} does not fit 16 "
                f"bits: {error}; lower the rate") from error
        self._running.add(report)
        changes = self.scales.observe(report.ranges)
        for change in changes:
            if change.name in self.scales.stored_names:
                self.executor.rescale(change.name, change.by)
        return Step(self._number, len(self.history), report.loss / report.samples,
                    report.correct / report.samples, rate, _saturated(report), tuple(changes))

    def _accumulate(self, indices: np.ndarray) -> Report:
        report, micro = Report(), self.settings.micro
        exponents = self.scales.exponents
        for start in range(0, len(indices), micro):
            x, targets = self.samples.at(indices[start:start + micro],
                                         exponents[self.plan.network.output])
            report.add(self.executor.accumulate(x, targets, exponents, self._next()))
        return report

    def _next(self) -> int:
        """Return the seed of the next job."""
        self._seed = next_seed(self._seed)
        return self._seed

    # -- ending ------------------------------------------------------------------------------

    def evaluate(self, x: np.ndarray, targets: np.ndarray) -> float:
        """Return the share of samples whose largest logit is their label's."""
        return self._accuracy(prepare(self.plan, x, targets,
                                      self.scales.exponents[self.plan.network.input]))

    def _accuracy(self, samples: Samples) -> float:
        right = 0
        for start in range(0, len(samples), _CHUNK):
            logits = self.executor.predict(samples.x[start:start + _CHUNK], self.scales.exponents)
            labels = samples.targets[start:start + _CHUNK]
            right += int((logits.reshape(len(logits), -1).argmax(axis=1) == labels).sum())
        return right / len(samples)

    def _merit(self, epoch: Epoch) -> float:
        return -epoch.loss if epoch.validation is None else epoch.validation

    def _keep_best(self, epoch: Epoch) -> None:
        merit = self._merit(epoch)
        if self._best is None or merit > self._best[0]:
            self._best = merit, self.executor.download(), dict(self.scales.exponents)

    def _enough(self) -> str | None:
        """Return which criterion holds, if one does."""
        settings, last = self.settings, self.history[-1]
        if settings.accuracy is not None and (last.validation or 0) >= settings.accuracy:
            return f"validation accuracy {last.validation:.4f}"
        if settings.loss_threshold is not None and last.loss <= settings.loss_threshold:
            return f"loss {last.loss:.4f}"
        if settings.patience is not None:
            merits = [self._merit(epoch) for epoch in self.history]
            if len(merits) - 1 - int(np.argmax(merits)) >= settings.patience:
                return f"no improvement for {settings.patience} epochs"
        return f"{settings.epochs} epochs" if len(self.history) >= settings.epochs else None

    def parameters(self, *, best: bool = True) -> dict[str, np.ndarray]:
        """Return the parameters as real numbers: the best epoch's, or the current ones."""
        if best and self._best is not None:
            _, arrays, exponents = self._best
        else:
            arrays, exponents = self.executor.download(), self.scales.exponents
        return {name: np.ldexp(arrays[name].astype(np.float64), exponents[name])
                for name in self.plan.network.parameters}

    # -- checkpoints -------------------------------------------------------------------------

    def save(self, path: str | Path | None = None) -> None:
        """Write everything a later run needs to go on as if this one had not ended."""
        path = path or self.checkpoint
        if path is None:
            raise TrainingError("there is no path for a checkpoint")
        arrays = {f"now {name}": a for name, a in self.executor.download().items()}
        description: dict[str, Any] = {
            "network": fingerprint(self.plan), "settings": self.settings.identity(),
            "scales": self.scales.state(), "seed": self._seed, "step": self._number,
            "within": self._within, "history": [asdict(epoch) for epoch in self.history],
            "running": asdict(self._running)}
        if self._best is not None:
            merit, best, exponents = self._best
            arrays |= {f"best {name}": a for name, a in best.items()}
            description["best"] = {"merit": merit, "exponents": exponents}
        save_checkpoint(path, arrays, description)

    def resume(self, path: str | Path) -> None:
        """Go on from a checkpoint, bit for bit as the run that wrote it.

        Raises
        ------
        DataError
            If the file is damaged, of another network, or of a run in another order.
        """
        arrays, description = load_checkpoint(path)
        if description["network"] != fingerprint(self.plan):
            raise DataError(f"{path}: a checkpoint of another network (or other frozen operations, "
                            f"or another loss) than {self.plan.network.name}")
        theirs, ours = description["settings"], self.settings.identity()
        for name, value in theirs.items():
            if value != ours[name]:
                raise DataError(f"{path}: that run had {name} = {value}, this one has "
                                f"{ours[name]}: it would not be the same run")
        self.scales.restore(description["scales"])
        self.executor.upload(_section(arrays, "now "))
        self._seed, self._number = description["seed"], description["step"]
        self._within = description["within"]
        running = description["running"]
        self._running = Report(running["samples"], running["loss"], running["correct"], {
            name: Range(**found) for name, found in running["ranges"].items()})
        self.history = [Epoch(**epoch) for epoch in description["history"]]
        if "best" in description:
            best = description["best"]
            self._best = best["merit"], _section(arrays, "best "), best["exponents"]
        self.stopped = self._enough() if self.history and not self._within else None


def fingerprint(plan: Plan) -> str:
    """Return what tells a plan from those of other networks: its items and shapes, hashed."""
    network = plan.network
    sizes = {name: values.shape for name, values in network.parameters.items()}
    text = json.dumps([repr(plan.items), sorted(network.shapes.items()), sorted(sizes.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _section(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items()
            if name.startswith(prefix)}


def _saturated(report: Report) -> int:
    return sum(found.saturated for found in report.ranges.values())
