"""Images a second of the instruction-level model in training: LeNet-5, batches of 32.

    python bench/training.py [--micro-batch 4] [--banks 10] [--steps 6]

The device has 16 x 8 multipliers; 10 banks are 320 KiB. Seconds are those of the processor, so
other programs hardly matter; the images are noise, which makes no difference to the speed. The
first steps, in which programs are made, do not count.
"""

import argparse
import time

import numpy as np

from systolith.examples.fixed_point import lenet
from systolith.hw.config import Config
from systolith.sim.machine_device import MachineDevice
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

BATCH = 32
#: Steps before counting.
BEGINNING = 2


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--banks", type=int, default=10)
    parser.add_argument("--steps", type=int, default=6, help="that count")
    options = parser.parse_args()
    config = Config(operand_bits=16, accumulator_bits=48, output_stationary=True, training=True,
                    banks=options.banks, bank_words=1024)
    network = lenet(1)
    plan = plan_training(network)
    random, count = np.random.default_rng(1), BATCH * (options.steps + BEGINNING)
    executor = DeviceExecutor(plan, MachineDevice(config), config, options.micro_batch)
    times: list[float] = []
    trainer = Trainer(plan, executor, Settings(epochs=1, batch=BATCH, rate=0.02,
                                               micro_batch=options.micro_batch),
                      random.standard_normal((count, *network.shapes[network.input])),
                      random.integers(0, 10, count),
                      on_step=lambda step: times.append(time.process_time()))
    trainer.run()
    seconds = times[-1] - times[BEGINNING - 1]
    print(f"lenet on {config.describe()}, micro-batches of {options.micro_batch}: "
          f"{BATCH * options.steps / seconds:,.0f} images a second of the processor")


if __name__ == "__main__":
    main()
