"""Steps of training on the RTL, beside instruction-level and golden model: equal in every bit.

    python bench/training_rtl.py                       # 200 steps of random networks
    python bench/training_rtl.py --mnist mnist.npz     # the first 20 steps of LeNet-5's run

Every job's report is compared, and after every network all parameters and the momentum; the first
difference ends the run with exit code 1. Cycles are compared with the cycle model's too.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from systolith.boards.targets import find_config
from systolith.examples.datasets import mnist
from systolith.examples.fixed_point import lenet
from systolith.examples.training_step import BATCH
from systolith.hw.config import Config
from systolith.sim.training.compared import compared_trainer
from systolith.sw import device
from systolith.sw.errors import CapacityError, SystolithError
from systolith.sw.train.builder import NetworkBuilder, randomise
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.graph import Network
from systolith.sw.train.schedule import Cosine
from systolith.sw.train.settings import Settings

#: Of the random networks; small, so that the simulation is fast.
SMALL = Config(name="small", rows=4, columns=4, post_lanes=4, operand_bits=16, accumulator_bits=48,
               accumulator_depth=128, banks=2, bank_words=1024, output_stationary=True,
               training=True)
#: Steps a random network is trained for, and of the MNIST run.
EACH, MNIST_STEPS = 4, 20


def random_network(random: np.random.Generator) -> Network:
    """Return a network of one to three layers and a dense one, 2-D or 1-D."""
    height = 1 if random.random() < 0.3 else int(random.integers(4, 9))
    builder = NetworkBuilder("random", (height, int(random.integers(4, 9)),
                                        int(random.integers(1, 4))))
    for kind in random.choice(["conv", "max", "average", "rectify"], random.integers(1, 4)):
        size = builder.shape[:2]
        kernel = tuple(int(random.integers(1, min(3, edge) + 1)) for edge in size)
        stride = tuple(random.integers(1, 3, 2).tolist())
        pads = tuple(int(random.integers(0, k)) for k in (*kernel, *kernel))
        if kind == "conv":
            builder.conv(int(random.integers(1, 6)), kernel, stride=stride, pads=pads,
                         rectify=bool(random.random() < 0.5), bias=bool(random.random() < 0.7))
        elif kind == "max":
            builder.max_pool(kernel, stride, pads)
        elif kind == "average":
            builder.average_pool(kernel, stride, pads)
        else:
            builder.rectify()
    builder.dense(int(random.integers(2, 6)))
    randomise(builder.network, int(random.integers(1000)))
    return builder.network


def train(network: Network, config: Config, settings: Settings, x: np.ndarray, labels: np.ndarray,
          rtl: device.Device, machine: device.Device) -> tuple[int, list[float]]:
    """Train for an epoch on all three; return cycles, and the losses of the steps.

    Raises
    ------
    Difference
        If they do not agree.
    CapacityError
        If the devices do not run this network.
    """
    trainer, executors = compared_trainer(plan_training(network), config, settings, x, labels,
                                          rtl=rtl, machine=machine)
    losses: list[float] = []
    trainer.on_step = lambda step: losses.append(step.loss)
    trainer.run()
    trainer.executor.download()
    measured, predicted = (executor.cycles for executor in executors)
    if measured != predicted:
        raise SystolithError(f"{network.name}: {measured:,} cycles, {predicted:,} predicted")
    return measured, losses


def random_steps(count: int, seed: int) -> None:
    """Train random networks, for ``count`` steps of all together."""
    random = np.random.default_rng(seed)
    steps = networks = refused = cycles = 0
    with device.open("sim:", SMALL) as rtl, device.open("machine:", SMALL) as machine:
        while steps < count:
            network, batch = random_network(random), int(random.integers(1, 5))
            classes = int(np.prod(network.shapes[network.output]))
            samples = batch * EACH
            settings = Settings(epochs=1, batch=batch, rate=0.02,
                                decay=float(random.choice([0, 1e-3])))
            x = random.standard_normal((samples, *network.shapes[network.input]))
            labels = random.integers(0, classes, samples)
            try:
                took, losses = train(network, SMALL, settings, x, labels, rtl, machine)
            except CapacityError:
                refused += 1
                continue
            networks, steps, cycles = networks + 1, steps + len(losses), cycles + took
    print(f"{steps} steps of {networks} random networks, {cycles:,} cycles: equal in every bit, "
          f"cycles as predicted ({refused} networks refused)")


def mnist_steps(path: Path) -> None:
    """Train LeNet-5 as ``systolith.examples.fixed_point lenet`` does, for its first steps."""
    config, data = find_config("ulx3s-85f-train"), mnist(path)
    samples = MNIST_STEPS * BATCH
    settings = Settings(epochs=1, batch=BATCH, rate=0.02, decay=5e-4, schedule=Cosine(1))
    x, labels = data.train_x[:samples].transpose(0, 2, 3, 1), data.train_y[:samples].astype(int)
    with device.open("sim:", config) as rtl, device.open("machine:", config) as machine:
        cycles, losses = train(lenet(1), config, settings, x, labels, rtl, machine)
    print(f"{len(losses)} steps of LeNet-5 on MNIST, batch {BATCH}, {cycles:,} cycles: equal "
          f"in every bit, cycles as predicted; loss {losses[0]:.3f} in the first, "
          f"{losses[-1]:.3f} in the last")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", type=Path, help="MNIST as docs/zoo.md describes it")
    parser.add_argument("--steps", type=int, default=200, help="of random networks")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        if options.mnist:
            mnist_steps(options.mnist)
        else:
            random_steps(options.steps, options.seed)
    except SystolithError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
