"""``systolith demo-train``: the simulated hardware learns to read handwritten digits."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.curves import curve
from systolith.cli.demo import digits
from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    import numpy as np

    from systolith.hw.config import Config
    from systolith.sw.device import Device
    from systolith.sw.train.device import DeviceExecutor
    from systolith.sw.train.trainer import Step, Trainer

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith demo-train --images 480"

#: Digits that are not trained on; they measure the accuracy after every epoch.
VALIDATION = 120
#: Digits of an update, and the learning rate at the beginning.
_BATCH, _RATE = 12, 0.04
#: Updates from one line to the next, and columns of the learning curves.
_EVERY, _COLUMNS = 5, 30


def command(
    images: Annotated[int, typer.Option(
        min=_BATCH, max=1000 - VALIDATION, help="Digits to learn from.")] = 360,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 2,
    device: Annotated[str, typer.Option(
        help="sim: or another device; see systolith devices.")] = "sim:",
    as_json: Json = False,
) -> None:
    """Train a LeNet-5 with random weights on real MNIST digits, on the RTL of a training device.

    The digits are the ones the project carries, of MNIST's test set. The golden model trains
    beside it, and must report the same after every job and have the same weights after every
    epoch. The exit code is 1 if the loss does not fall or the accuracy does not rise.
    """
    from systolith.boards.targets import find_target
    from systolith.sw import device as devices

    out = Output(as_json)
    target = find_target("ulx3s-85f-train")
    out.say(f"Network    LeNet-5 with random weights, {images} digits to learn, {VALIDATION} to "
            "check")
    out.say(f"Target     {target.description}")
    with out.log.status(f"opening {device}"):
        opened = devices.open(device, target.config)
    with opened:
        trainer, executor = _trainer(opened, target.config, images, epochs)
        untrained = trainer.evaluate(*_samples(slice(0, VALIDATION)))
        out.say(f"Untrained  {untrained:.1%} right")
        steps = _watched(out, trainer)
        started = time.monotonic()
        history = trainer.run()
        seconds = time.monotonic() - started
    losses = [step.loss for step in steps]
    out.say(f"Loss       {curve(losses, _COLUMNS)}")
    out.say(f"Right      {curve([step.accuracy for step in steps], _COLUMNS)}")
    out.say(f"Golden     equal in every bit: {len(steps)} updates, {len(steps) * _BATCH} digits, "
            f"{seconds:.0f} s")
    out.say(f"Cycles     {executor.cycles:,}, checks included")
    learns = history[-1].loss < losses[0] and history[-1].validation > untrained
    out.result({"losses": losses, "untrained": untrained,
                "validation": [epoch.validation for epoch in history], "learns": learns,
                "cycles": executor.cycles, "seconds": round(seconds, 1)})
    if not learns:
        raise typer.Exit(1)


def _samples(part: slice) -> "tuple[np.ndarray, np.ndarray]":
    """Return some digits float32[n, 28, 28, 1] and their labels."""
    _, labels, inputs = digits(part.stop)
    return inputs.transpose(0, 2, 3, 1)[part], labels[part].astype(int)


def _trainer(opened: "Device", config: "Config", images: int,
             epochs: int) -> "tuple[Trainer, DeviceExecutor]":
    """Return what trains on the device and on the golden model, and the device's part."""
    from systolith.examples.fixed_point import lenet
    from systolith.sim.training.compared import compared_trainer
    from systolith.sw.train.gradients import plan_training
    from systolith.sw.train.schedule import Cosine
    from systolith.sw.train.settings import Settings

    trainer, (executor,) = compared_trainer(
        plan_training(lenet(1)), config,
        Settings(epochs=epochs, batch=_BATCH, rate=_RATE, schedule=Cosine(epochs)),
        *_samples(slice(VALIDATION, VALIDATION + images)),
        validation=_samples(slice(0, VALIDATION)), device=opened)
    return trainer, executor


def _watched(out: Output, trainer: "Trainer") -> "list[Step]":
    """Print how it goes on; return the list that will hold the steps."""
    steps: list[Step] = []

    def tell(step: "Step") -> None:
        steps.append(step)
        if len(steps) % _EVERY == 0:
            recent = steps[-_EVERY:]
            out.say(f"Update {len(steps):4}  loss {sum(s.loss for s in recent) / _EVERY:.3f}  "
                    f"right {sum(s.accuracy for s in recent) / _EVERY:6.1%}")

    trainer.on_step = tell
    trainer.on_epoch = lambda epoch: out.say(
        f"Epoch {epoch.number + 1:5}  loss {epoch.loss:.3f}  right {epoch.validation:6.1%} of "
        "those to check")
    return steps
