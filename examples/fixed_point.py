"""LeNet-5 trained from random weights in 16-bit fixed point, and the same run in float32.

Needs no PyTorch::

    python -m systolith.examples.fixed_point --data mnist.npz --epochs 3
    python -m systolith.examples.fixed_point --data mnist.npz --epochs 3 --real

The images are not padded: 28 x 28 pixels, 44,426 parameters. The learning rate falls by half a
cosine over the epochs.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from systolith.examples.datasets import mnist
from systolith.sim.training.golden import GoldenExecutor
from systolith.sim.training.real import train_real
from systolith.sw.train.builder import NetworkBuilder, randomise
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.graph import Network
from systolith.sw.train.schedule import Cosine
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

__all__ = ["lenet", "main"]


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


def main(arguments: list[str] | None = None) -> float:
    """Train, tell every epoch, and return the last accuracy."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz, see docs/zoo.md")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true", help="in float32")
    options = parser.parse_args(arguments)
    settings = Settings(epochs=options.epochs, batch=options.batch, seed=options.seed,
                        micro_batch=options.micro_batch, rate=options.rate, decay=options.decay,
                        schedule=Cosine(options.epochs))
    data = mnist(options.data)
    train = _pixels_last(data.train_x), data.train_y.astype(np.int64)
    test = _pixels_last(data.test_x), data.test_y.astype(np.int64)
    return (_real if options.real else _fixed)(settings, train, test)


def _fixed(settings: Settings, train, test) -> float:
    plan = plan_training(lenet(settings.seed))
    trainer = Trainer(plan, GoldenExecutor(plan), settings, *train, validation=test)
    begin = time.perf_counter()

    def tell(epoch) -> None:
        _tell(epoch.number, epoch.loss, epoch.validation, begin)
        print(f"  {epoch.saturated} results saturated", flush=True)

    trainer.on_epoch = tell
    return trainer.run()[-1].validation


def _real(settings: Settings, train, test) -> float:
    begin, accuracy = time.perf_counter(), 0.0
    steps = train_real(plan_training(lenet(settings.seed)), settings, *train, test)
    for number, (loss, accuracy) in enumerate(steps):
        _tell(number, loss, accuracy, begin)
    return accuracy


def _tell(number: int, loss: float, accuracy: float, begin: float) -> None:
    print(f"epoch {number + 1}: loss {loss:.4f}, test accuracy {accuracy:.2%}, "
          f"{time.perf_counter() - begin:.0f} s", flush=True)


def _pixels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


if __name__ == "__main__":
    main()
