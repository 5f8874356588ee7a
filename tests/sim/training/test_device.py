"""Training steps on the instruction-level model: equal to the golden model in every bit."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from systolith.sim.machine_device import MachineDevice
from systolith.sw.errors import CapacityError, UnsupportedError
from systolith.sw.train.builder import NetworkBuilder
from systolith.sw.train.device import DeviceExecutor
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer
from tests.training_device import Compared, config, everything
from tests.training_networks import finished, networks, patches, small


def train(network, device, *, micro=3, loss="cross-entropy", epochs=2, data=None, **options):
    """Train for some steps, comparing all of them; return the trainer."""
    plan = plan_training(network, loss)
    x, targets = data or samples(network, loss)
    executor = Compared(plan, MachineDevice(device), device, micro)
    trainer = Trainer(plan, executor, Settings(epochs=epochs, batch=4, micro_batch=micro, rate=0.01,
                                               **options), x, targets)
    trainer.run()
    return trainer


def samples(network, loss, count=8):
    random = np.random.default_rng(1)
    x = random.standard_normal((count, *network.shapes[network.input]))
    shape = network.shapes[network.output]
    if loss == "mse":
        return x, random.standard_normal((count, *shape))
    return x, random.integers(0, np.prod(shape), count)


@settings(max_examples=40, deadline=None)
@given(networks(), st.sampled_from([{}, {"rows": 16, "columns": 8}, {"accumulator_depth": 64}]),
       st.sampled_from(["cross-entropy", "mse"]), st.booleans())
def test_random_networks(network, shape, loss, decay):
    """Forward, backward and update, bit for bit, ranges included; scales change on the way."""
    try:
        train(network, config(**shape), loss=loss, decay=1e-3 if decay else 0.0)
    except CapacityError:
        assume(False)


def test_a_network_with_everything():
    train(everything(), config(accumulator_depth=128), decay=1e-3, epochs=3)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 3)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_maxima(kernel, pads):
    """Over the edge, overlapping; of more channels than columns, rectified before and behind."""
    builder = NetworkBuilder("maxima", (9, 8, 2))
    builder.conv(6, (1, 1), rectify=True)
    builder.max_pool(kernel, (2, 2), pads)
    builder.conv(5, (1, 1))
    builder.max_pool(kernel, (1, 2), pads)
    builder.rectify()
    builder.dense(3)
    train(finished(builder), config(accumulator_depth=64), epochs=1)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_rectified_logits(loss):
    """Their mask is applied to the loss's gradient."""
    builder = NetworkBuilder("rectified", (4, 4, 2))
    builder.conv(9, (3, 3), rectify=True)
    train(finished(builder), config(), loss=loss, epochs=1)


def test_too_many_classes():
    builder = NetworkBuilder("classes", (1, 1, 1))
    builder.dense(1025)
    with pytest.raises(UnsupportedError, match="1,025 classes"):
        train(finished(builder), config(banks=8))


def test_a_step_is_a_job_and_an_update():
    """The host is not asked between the forward and the backward pass."""
    class Counting(MachineDevice):
        jobs = 0

        def submit(self):
            self.jobs += 1
            super().submit()

    plan, device = plan_training(small()), Counting(config())
    executor = DeviceExecutor(plan, device, config(), 4)
    trainer = Trainer(plan, executor, Settings(epochs=1, batch=4, rate=0.01), *patches())
    before = device.jobs
    trainer.run()
    assert device.jobs - before == 2 * (len(patches()[0]) // 4)


def test_it_learns():
    trainer = train(small(), config(), micro=4, epochs=12, data=patches())
    assert trainer.history[-1].loss < 0.6 * trainer.history[0].loss


def test_what_does_not_run():
    builder = NetworkBuilder("edges", (6, 6, 1))
    builder.conv(2, (3, 3))
    builder.max_pool((2, 2), pads=(2, 0, 0, 0))
    builder.dense(2)
    with pytest.raises(UnsupportedError, match="a window lies beyond the edge"):
        train(finished(builder), config())


def test_too_many_images():
    plan = plan_training(small())
    device = config(banks=1, bank_words=128)
    with pytest.raises(CapacityError, match="over 40 images") as found:
        DeviceExecutor(plan, MachineDevice(device), device, 40)
    assert "micro-batches of at most" in str(found.value)


def test_summands_far_apart():
    """What is more than 31 bits below the other one does not count."""
    builder = NetworkBuilder("apart", (3, 3, 2))
    builder.conv(2, (1, 1))
    before = builder.network.output
    builder.conv(2, (1, 1))
    builder.add(before)
    plan = plan_training(finished(builder))
    device = config()
    executor = Compared(plan, MachineDevice(device), device, 2)
    first, second, _ = plan.network.nodes
    exponents = {plan.network.input: 0, first.weights: -10, first.bias: -10, first.output: 20,
                 second.weights: -35, second.bias: -15, second.output: -15,
                 plan.network.output: 19}
    executor.upload({name: np.full(values.shape, 5, np.int16)
                     for name, values in plan.network.parameters.items()})
    executor.predict(np.arange(36, dtype=np.int16).reshape(2, 3, 3, 2) * 900, exponents)
