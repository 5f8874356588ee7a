"""Cycles of one whole step of training LeNet-5 on the compiled RTL, beside what others report."""

from dataclasses import dataclass

import numpy as np

from systolith.examples.fixed_point import lenet
from systolith.hw.config import Config
from systolith.sim.training.compared import compared_trainer
from systolith.sw import device
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.settings import Settings

__all__ = ["BATCH", "DECAY", "NETWORK", "PEERS", "Peer", "Row", "measure", "predict"]

#: What is trained, by its name in tables, the images of an update, its weights' decay.
NETWORK, BATCH, DECAY = "lenet5-train", 32, 5e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step of training on one target."""

    network: str
    target: str
    #: Of the whole step: forward, gradients of maps and of weights.
    macs: int
    #: Of all jobs of the step on the RTL, from start to done, without what the link moves between.
    cycles: int
    predicted_cycles: int
    #: Share of all multiply-accumulates the array could have done in these cycles.
    utilization: float
    #: Images of the step, and those that a job takes.
    batch: int
    micro_batch: int

    @property
    def cycles_per_image(self) -> float:
        """The step's cycles, shared."""
        return self.cycles / self.batch

    @property
    def macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle, over the whole step."""
        return self.macs / self.cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What others report of training a small CNN on MNIST; None where they do not say."""

    name: str
    macs_per_cycle: float | None = None
    clock_hz: float | None = None
    images_per_second: float | None = None
    #: Of MNIST's test digits.
    accuracy: float | None = None


#: An FPGA system as its authors report it, another network than ours; and the same network as
#: ours by PyTorch in float32 and by plain C, on one thread of the machine our tables come from.
PEERS = (
    Peer(name="FPGA trainer", macs_per_cycle=295, clock_hz=50e6, accuracy=0.9242),
    Peer(name="PyTorch, batch 1", images_per_second=1_008),
    Peer(name="PyTorch, batch 32", images_per_second=10_650),
    Peer(name="C, scalar, batch 1", images_per_second=3_000),
    Peer(name="C, AVX-512, batch 1", images_per_second=12_400),
)


def measure(config: Config, batch: int = BATCH) -> Row:
    """Train LeNet-5 for one step on the RTL; images are noise, which makes no difference.

    Raises
    ------
    Difference
        If RTL, instruction-level model and golden model do not agree in every bit.
    CapacityError
        If not even one image fits.
    DeviceError
        If the device cannot train, or the simulation fails.
    """
    with device.open("sim:", config) as simulated, device.open("machine:", config) as model:
        rtl, machine = _train(config, batch, rtl=simulated, machine=model)
    done = rtl.plan.macs * batch
    return Row(network=NETWORK, target=config.name, macs=done, cycles=rtl.cycles,
               predicted_cycles=machine.cycles, batch=batch, micro_batch=rtl.images,
               utilization=done / (config.multipliers * rtl.cycles))


def predict(config: Config, batch: int = BATCH) -> int:
    """Return the cycles of the same step by the cycle model, which is exact."""
    with device.open("machine:", config) as model:
        machine, = _train(config, batch, machine=model)
    return machine.cycles


def _train(config: Config, batch: int, **devices: device.Device) -> list[DeviceExecutor]:
    """Train for a step on devices, and on the golden model."""
    network, random = lenet(1), np.random.default_rng(1)
    trainer, executors = compared_trainer(
        plan_training(network), config, Settings(epochs=1, batch=batch, rate=0.02, decay=DECAY),
        random.standard_normal((batch, *network.shapes[network.input])),
        random.integers(0, 10, batch), **devices)
    trainer.run()
    return executors
