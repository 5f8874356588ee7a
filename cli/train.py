"""``systolith train``: a float model learns from samples, in 16-bit fixed point."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.curves import curve
from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    import numpy as np

    from systolith.sw.train.executor import Executor
    from systolith.sw.train.gradients import Plan
    from systolith.sw.train.graph import Network
    from systolith.sw.train.settings import Settings
    from systolith.sw.train.trainer import Trainer

__all__ = ["EXAMPLE", "Loss", "Schedule", "command"]

EXAMPLE = "Example: systolith train model.onnx --data samples.npz --epochs 10 -o trained.onnx"


class Loss(StrEnum):
    """What is made small."""

    CROSS_ENTROPY = "cross-entropy"
    MSE = "mse"


class Schedule(StrEnum):
    """How the learning rate goes on."""

    CONSTANT = "constant"
    COSINE = "cosine"


def command(
    model: Annotated[Path, typer.Argument(help="A float ONNX model.")],
    data: Annotated[Path, typer.Option(
        "--data", help="An .npz archive: x in the model's layout, batch first, y labels (or "
                       "outputs, for mse), and if there are any validation_x and validation_y.")],
    output: Annotated[Path, typer.Option(
        "--output", "-o", help="The model with what was learnt, .onnx: the best epoch's.")],
    device: Annotated[str, typer.Option(
        "--device", "-d", help="What trains: golden: is the integer model of the hardware, "
                               "machine: that of its instructions.")] = "golden:",
    target: Annotated[str | None, typer.Option(
        "--target", "-t", help="Which accelerator the device is; golden: needs none.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the samples, at most.")] = 10,
    batch: Annotated[int, typer.Option(help="Samples of an update.")] = 32,
    micro_batch: Annotated[int | None, typer.Option(
        help="Samples the device takes at once; as many as it can, if left out.")] = None,
    rate: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 0.01,
    schedule: Annotated[Schedule, typer.Option(help="Of the learning rate.")] = Schedule.COSINE,
    momentum: Annotated[float, typer.Option(help="Momentum, below 1.")] = 0.9,
    decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.0,
    loss: Annotated[Loss, typer.Option(help="What is made small.")] = Loss.CROSS_ENTROPY,
    freeze: Annotated[str | None, typer.Option(
        help="The last operation that stays as it is; all before it do too.")] = None,
    fresh: Annotated[bool, typer.Option(
        "--fresh", help="Begin with random weights, but for frozen ones.")] = False,
    seed: Annotated[int, typer.Option(help="Of samples' order, rounding and fresh weights.")] = 1,
    until_loss: Annotated[float | None, typer.Option(help="Stop at this loss.")] = None,
    until_accuracy: Annotated[float | None, typer.Option(
        help="Stop at this validation accuracy, 0 to 1.")] = None,
    patience: Annotated[int | None, typer.Option(
        help="Stop after so many epochs without improvement.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(
        help="Where to keep what --resume goes on from, after every epoch.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A checkpoint to go on from.")] = None,
    as_json: Json = False,
) -> None:
    """Train a float model and write it back with what it has learnt."""
    from systolith.sw.train.model import TrainableModel
    from systolith.sw.train.schedule import Constant, Cosine
    from systolith.sw.train.settings import Settings
    from systolith.sw.train.trainer import Trainer

    out = Output(as_json)
    settings = Settings(
        epochs=epochs, batch=batch, micro_batch=micro_batch, rate=rate, momentum=momentum,
        decay=decay, seed=seed, loss_threshold=until_loss, accuracy=until_accuracy,
        patience=patience,
        schedule=Cosine(epochs) if schedule is Schedule.COSINE else Constant())
    trainable = TrainableModel.load(model)
    plan = _plan(trainable.network, loss.value, freeze)
    if fresh:
        from systolith.sw.train.builder import randomise

        randomise(trainable.network, seed, plan.trained)
    arrays = _samples(data)
    x = trainable.inputs(arrays["x"])
    validation = (trainable.inputs(arrays["validation_x"]), arrays["validation_y"]) if (
        "validation_x" in arrays) else None
    with _executor(device, target, plan, settings) as (executor, settings):
        trainer = Trainer(plan, executor, settings, x, arrays["y"], validation=validation,
                          checkpoint=checkpoint)
        if resume is not None:
            trainer.resume(resume)
        speed = _run(out, trainer, len(x) // batch)
        _write(output, trainable.updated(trainer.parameters()))
    _report(out, trainer, speed, output)


def _plan(network: "Network", loss: str, freeze: str | None) -> "Plan":
    from systolith.sw.errors import TrainingError
    from systolith.sw.train.gradients import plan_training

    try:
        return plan_training(network, loss, network.prefix(freeze) if freeze else frozenset())
    except ValueError as error:
        raise TrainingError(str(error)) from error


@contextmanager
def _executor(url: str, target: str | None, plan: "Plan",
              settings: "Settings") -> "Iterator[tuple[Executor, Settings]]":
    """Open what trains; yield it, and the settings with the samples it takes at once."""
    from dataclasses import replace

    from systolith.boards.targets import find_config
    from systolith.sim.training.golden import GoldenExecutor
    from systolith.sw import device
    from systolith.sw.errors import TrainingError
    from systolith.sw.train.device import DeviceExecutor, micro_batch

    if url == "golden:":
        yield GoldenExecutor(plan), settings
        return
    if target is None:
        raise TrainingError(f"{url} may be any accelerator: say which one with --target")
    config = find_config(target)
    images = settings.micro_batch or micro_batch(plan, config, settings.batch)
    with device.open(url, config) as opened:
        opened.check(config)
        yield (DeviceExecutor(plan, opened.backend, config, min(images, settings.batch)),
               replace(settings, micro_batch=images))


def _samples(path: Path) -> "dict[str, np.ndarray]":
    """Return the arrays of the data file."""
    import zipfile

    import numpy as np

    from systolith.sw.errors import DataError

    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole .npz archive: {error}") from error
    missing = {"x", "y"} - arrays.keys()
    missing |= {name for name in ("validation_x", "validation_y")
                if ("validation_x" in arrays) != ("validation_y" in arrays)} - arrays.keys()
    if missing:
        raise DataError(f"{path}: it has no array {' and '.join(sorted(missing))}; it must be an "
                        ".npz archive of x and y, and may have validation_x and validation_y")
    return arrays


def _run(out: Output, trainer: "Trainer", steps: int) -> "_Speed":
    """Train with progress on stderr."""
    import time

    begin, speed = time.perf_counter(), _Speed(trainer)
    with out.progress() as progress:
        task = progress.add_task("training", total=steps)

        def step(done) -> None:
            speed.step()
            progress.update(task, advance=1, description=(
                f"epoch {done.epoch + 1}  loss {done.loss:.4f}  accuracy {done.accuracy:.1%}"))

        def epoch(done) -> None:
            speed.rest()
            progress.reset(task, total=steps)
            validation = "" if done.validation is None else f"  validation {done.validation:.2%}"
            out.say(f"Epoch {done.number + 1:3}  loss {done.loss:.4f}  accuracy "
                    f"{done.accuracy:.2%}{validation}  {done.saturated} saturated")

        trainer.on_step, trainer.on_epoch = step, epoch
        trainer.run()
    speed.seconds = time.perf_counter() - begin
    return speed


class _Speed:
    """What the steps of a run take; validation is not among them, but for the seconds.

    Attributes
    ----------
    seconds : float
        Of the whole run.
    """

    def __init__(self, trainer: "Trainer"):
        self.trainer, self.seconds = trainer, 0.0
        self._samples = self._cycles = 0
        self.rest()

    def _counted(self) -> int:
        return getattr(self.trainer.executor, "cycles", 0)

    def rest(self) -> None:
        """Leave out all cycles since the last step."""
        self._before = self._counted()

    def step(self) -> None:
        """Count a step that has just been done."""
        self._samples += self.trainer.settings.batch
        self._cycles += self._counted() - self._before
        self.rest()

    @property
    def samples_per_second(self) -> float:
        """Samples trained in a second of the run."""
        return self._samples / self.seconds

    @property
    def cycles_per_image(self) -> float | None:
        """Clock cycles of the device's jobs for a sample; None where it does not count them."""
        return self._cycles / self._samples if self._cycles else None

    @property
    def utilization(self) -> float | None:
        """Share of all multiply-accumulates the device could have done in these cycles."""
        cycles = self.cycles_per_image
        return cycles and self.trainer.plan.macs / (
            cycles * self.trainer.executor.config.multipliers)


def _write(path: Path, model) -> None:
    from systolith.sw.files import replacing

    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _report(out: Output, trainer: "Trainer", speed: _Speed, output: Path) -> None:
    from dataclasses import asdict

    history = trainer.history
    out.say(f"Loss     {curve([epoch.loss for epoch in history])}")
    if history[-1].validation is not None:
        out.say(f"Correct  {curve([epoch.validation for epoch in history])}")
    out.say(f"Stopped  {trainer.stopped}; {speed.samples_per_second:,.0f} samples a second")
    if speed.cycles_per_image is not None:
        out.say(f"Cycles   {speed.cycles_per_image:,.0f} a sample, {speed.utilization:.1%} of the "
                "multiply-accumulates used")
    out.say(f"Output   {output}")
    out.result({"history": [asdict(epoch) for epoch in history], "stopped": trainer.stopped,
                "samples_per_second": round(speed.samples_per_second, 1),
                "cycles_per_image": speed.cycles_per_image, "utilization": speed.utilization,
                "output": str(output)})
