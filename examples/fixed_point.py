r"""Networks trained from random weights in 16-bit fixed point, and the same runs in float32.

Needs no PyTorch::

    python -m systolith.examples.fixed_point lenet --data mnist.npz --epochs 3
    python -m systolith.examples.fixed_point lenet --data mnist.npz --epochs 3 --real
    python -m systolith.examples.fixed_point spoken_digits --data fsdd_spoken_digits.npz \
        --epochs 30

The learning rate falls by half a cosine over the epochs.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systolith.examples.datasets import Dataset, mnist, sign_digits, spoken_digits
from systolith.sim.training.golden import GoldenExecutor
from systolith.sim.training.real import train_real
from systolith.sw.train.builder import NetworkBuilder, randomise
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.graph import Network
from systolith.sw.train.schedule import Cosine
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

__all__ = ["EXPERIMENTS", "Experiment", "hearing", "lenet", "main", "seeing"]


def lenet(seed: int) -> Network:
    """Return LeNet-5 with ReLU and max pooling on 28 x 28 images without padding."""
    builder = NetworkBuilder("lenet", (28, 28, 1))
    for channels in (6, 16):
        builder.conv(channels, (5, 5), rectify=True)
        builder.max_pool()
    for outputs in (120, 84):
        builder.dense(outputs, rectify=True)
    builder.dense(10)
    randomise(builder.network, seed)
    return builder.network


def hearing(seed: int) -> Network:
    """Return a 1-D network for spectra of 64 steps of time with 32 mel bands."""
    builder = NetworkBuilder("spoken_digits", (1, 64, 32))
    for channels, taps in ((48, 5), (64, 3), (64, 3)):
        builder.conv(channels, (1, taps), pads=(0, taps // 2, 0, taps // 2), rectify=True)
        builder.max_pool((1, 2))
    builder.average_pool((1, 8))
    builder.dense(10)
    randomise(builder.network, seed)
    return builder.network


def seeing(seed: int) -> Network:
    """Return a residual network for pictures of 64 x 64 pixels."""
    builder = NetworkBuilder("gestures", (64, 64, 1))
    builder.conv(16, (5, 5), stride=(2, 2), pads=(2, 2, 1, 1), rectify=True)
    builder.max_pool()
    for channels in (16, 32):
        before = builder.network.output
        builder.conv(16, (3, 3), pads=(1, 1, 1, 1), rectify=True)
        builder.conv(builder.network.shapes[before][2], (3, 3), pads=(1, 1, 1, 1))
        builder.add(before, rectify=True)
        builder.conv(2 * channels, (3, 3), stride=(2, 2), pads=(1, 1, 0, 0), rectify=True)
    builder.average_pool((4, 4))
    builder.dense(10)
    randomise(builder.network, seed)
    return builder.network


@dataclass(frozen=True, slots=True)
class Experiment:
    """A network and what it learns."""

    build: Callable[[int], Network]
    read: Callable[[Path], Dataset]
    rate: float


EXPERIMENTS = {"lenet": Experiment(lenet, mnist, 0.02),
               "spoken_digits": Experiment(hearing, spoken_digits, 0.05),
               "gestures": Experiment(seeing, sign_digits, 0.01)}


def main(arguments: list[str] | None = None) -> float:
    """Train, tell every epoch, and return the last accuracy."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=EXPERIMENTS)
    parser.add_argument("--data", type=Path, required=True, help="see docs/zoo.md")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true", help="in float32")
    options = parser.parse_args(arguments)
    experiment = EXPERIMENTS[options.network]
    settings = Settings(epochs=options.epochs, batch=options.batch, seed=options.seed,
                        micro_batch=options.micro_batch, rate=options.rate or experiment.rate,
                        decay=options.decay, schedule=Cosine(options.epochs))
    network, data = experiment.build(options.seed), experiment.read(options.data)
    train, test = ((_maps(network, x), y.astype(np.int64)) for x, y in (
        (data.train_x, data.train_y), (data.test_x, data.test_y)))
    return (_real if options.real else _fixed)(network, settings, train, test)


def _fixed(network: Network, settings: Settings, train, test) -> float:
    plan = plan_training(network)
    trainer = Trainer(plan, GoldenExecutor(plan), settings, *train, validation=test)
    begin = time.perf_counter()

    def tell(epoch) -> None:
        _tell(epoch.number, epoch.loss, epoch.validation, begin)
        print(f"  {epoch.saturated} results saturated", flush=True)

    trainer.on_epoch = tell
    return trainer.run()[-1].validation


def _real(network: Network, settings: Settings, train, test) -> float:
    begin, accuracy = time.perf_counter(), 0.0
    for number, (loss, accuracy) in enumerate(train_real(plan_training(network), settings, *train,
                                                         test)):
        _tell(number, loss, accuracy, begin)
    return accuracy


def _tell(number: int, loss: float, accuracy: float, begin: float) -> None:
    print(f"epoch {number + 1}: loss {loss:.4f}, test accuracy {accuracy:.2%}, "
          f"{time.perf_counter() - begin:.0f} s", flush=True)


def _maps(network: Network, x: np.ndarray) -> np.ndarray:
    """Return samples with their channels last."""
    return np.moveaxis(x, 1, -1).reshape(len(x), *network.shapes[network.input])


if __name__ == "__main__":
    main()
