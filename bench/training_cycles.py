"""Cycles of a training step of LeNet-5 on the compiled RTL, equal to the golden model.

    python bench/training_cycles.py [--micro-batch 3] [--batch 32]

The device has 16 x 8 multipliers and 320 KiB. One micro-batch and one update run as jobs of their
own through the driver and the link; parameters, momentum and ranges must be those of the golden
model in every bit. Then every item runs alone, for the table. Cycles are the device's CYCLES, from
a job's start to its end; what the link moves between jobs is not in them.
"""

import argparse

import numpy as np

from systolith.examples.fixed_point import lenet
from systolith.hw.config import Config
from systolith.sim.training.golden import GoldenExecutor
from systolith.sim.verilated import open_device
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.lowering.fusion import fused_steps
from systolith.sw.train.lowering.lower import lower_items
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

CONFIG = Config(operand_bits=16, accumulator_bits=48, output_stationary=True, training=True,
                banks=10, bank_words=1024)
#: Multiply-accumulates of a training image: forward, data and weight gradients.
MACS = 758_520


def main() -> None:
    """Run, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--micro-batch", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="images of an update")
    options = parser.parse_args()
    images = options.micro_batch
    network = lenet(1)
    plan = plan_training(network)
    device = DeviceExecutor(plan, open_device("", CONFIG), CONFIG, images)
    golden = GoldenExecutor(plan, device.places())
    random = np.random.default_rng(1)
    trainer = Trainer(plan, golden, Settings(batch=images, rate=0.02),
                      random.standard_normal((images, *network.shapes[network.input])),
                      random.integers(0, 10, images))
    exponents = trainer.scales.exponents
    device.upload(trainer.scales.stored())

    x, labels = trainer.samples.at(np.arange(images), exponents[network.output])
    rule = Rule(rate=0.02, batch=options.batch, momentum=0.9, decay=5e-4)
    cycles = []
    for name, arguments in (("accumulate", (x, labels, exponents, 1)),
                            ("update", (rule, exponents, 2))):
        before = device.cycles
        if getattr(device, name)(*arguments) != getattr(golden, name)(*arguments):
            raise SystemExit(f"{name}: the RTL reports other ranges than the golden model")
        cycles.append(device.cycles - before)
    for name, values in golden.download().items():
        if not np.array_equal(device.read(name), values):
            raise SystemExit(f"{name}: the RTL's differs from the golden model's")

    for name, count in items(device, exponents):
        print(f"{name:40} {count / images:10,.0f}")
    image = cycles[0] / images + cycles[1] / options.batch
    print(f"{'update':40} {cycles[1] / options.batch:10,.0f}")
    print(f"an image, all jobs: {image:,.0f} cycles, {MACS / image:.1f} multiply-accumulates a "
          f"cycle, {MACS / image / CONFIG.multipliers:.1%} of the peak")


def items(device: DeviceExecutor, exponents: dict[str, int]) -> list[tuple[str, int]]:
    """Return the cycles of every item as a job of its own."""
    plan, found = device.stacking.plan, []
    steps = fused_steps(plan.forward, plan.network, CONFIG) + [(item,) for item in plan.backward]
    for step in steps:
        before = device.cycles
        device.run(lower_items(step, plan.network, CONFIG, device.memory, exponents,
                               device.images), seed=1)
        found.append((f"{type(step[-1]).__name__} {step[-1].result}", device.cycles - before))
    return found


if __name__ == "__main__":
    main()
