"""LeNet-5 trained on a device, batches of 32: cycles an image, and the speed of ``machine:``.

    python bench/training.py [--micro-batch N] [--banks N] [--steps 6] [--decay D]
    python bench/training.py --items                       # what each item takes, run alone

The device is ulx3s-85f-train, or one with more banks. Cycles are those of all jobs of a step,
predicted, without what is transferred between them. Seconds are those of the processor, so
other programs hardly matter; the images are noise, which makes no difference to the speed. The
first steps, in which programs are made, do not count.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from systolith.boards.targets import find_config
from systolith.examples.fixed_point import lenet
from systolith.examples.training_step import BATCH, DECAY
from systolith.sim.machine_device import MachineDevice
from systolith.sw.timing import measure
from systolith.sw.train.device import DeviceExecutor, micro_batch
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.lowering.fusion import fused_steps
from systolith.sw.train.lowering.lower import lower_items
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer

#: Most cycles an image of a step may take.
BAR = 10_000
#: Steps before counting.
BEGINNING = 2


def cycles(executor: DeviceExecutor) -> dict[str, int]:
    """Return the cycles of each kind of job in a step, of all its micro-batches together."""
    whole, rest = divmod(BATCH, executor.images)
    times = {executor.images: whole, rest: 1}
    total = dict.fromkeys(("accumulate", "update"), 0)
    # what was made last, by kind and images (an update's number is its rule)
    programs = {key[:2]: program for key, program in executor.programs.items()}
    for (job, images), program in programs.items():
        count = measure(executor.config, program.words).cycles
        if job == "update":
            total[job] = count
        elif images in times:
            total[job] += times[images] * count
    return total


def table(executor: DeviceExecutor) -> str:
    """Return the cycles of a step as text."""
    config, name, jobs = executor.config, executor.plan.network.name, cycles(executor)
    total = sum(jobs.values()) / BATCH
    share = executor.plan.macs / config.multipliers / total
    parts = ", ".join(f"{job} {count:,}" for job, count in jobs.items())
    missed = "" if total <= BAR else ": MISSED"
    return (f"{name} on {config.describe()}, micro-batches of {executor.images}: {total:,.0f} "
            f"cycles an image{missed} (bar {BAR:,}), {share:.1%} of peak; a batch of {BATCH}: "
            f"{parts}")


def items(executor: DeviceExecutor, exponents: dict[str, int]) -> str:
    """Return the cycles of every item of a micro-batch, run alone, and its vectors as text."""
    plan, lines = executor.stacking.plan, []
    for step in fused_steps(plan.items, plan.network, executor.config):
        program = lower_items(list(step), plan.network, executor.config, executor.memory,
                              exponents, executor.images)
        timing = measure(executor.config, program.words)
        lines.append(f"  {type(step[0]).__name__:14}{step[-1].result:28}{timing.cycles:8,} cycles"
                     f"{timing.entries:8,} entries{len(timing.nests):5} nests")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--micro-batch", type=int, help="images at once; default: what fits")
    parser.add_argument("--banks", type=int, help="default: the target's")
    parser.add_argument("--steps", type=int, default=6, help="that count")
    parser.add_argument("--decay", type=float, default=DECAY, help="of weights")
    parser.add_argument("--items", action="store_true", help="print what each item takes")
    options = parser.parse_args()
    config = find_config("ulx3s-85f-train")
    if options.banks:
        config = replace(config, name="custom", banks=options.banks)
    network = lenet(1)
    plan = plan_training(network)
    random, count = np.random.default_rng(1), BATCH * (options.steps + BEGINNING)
    images = options.micro_batch or micro_batch(plan, config, BATCH)
    executor = DeviceExecutor(plan, MachineDevice(config), config, images)
    times: list[float] = []
    trainer = Trainer(plan, executor, Settings(epochs=1, batch=BATCH, rate=0.02,
                                               decay=options.decay, micro_batch=images),
                      random.standard_normal((count, *network.shapes[network.input])),
                      random.integers(0, 10, count),
                      on_step=lambda step: times.append(time.process_time()))
    trainer.run()
    print(table(executor))
    if options.items:
        print(items(executor, trainer.scales.exponents))
    seconds = times[-1] - times[BEGINNING - 1]
    print(f"machine: {BATCH * options.steps / seconds:,.0f} images a second of the processor")


if __name__ == "__main__":
    main()
