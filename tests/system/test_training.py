"""Training steps on the RTL: every bit is the golden model's, every cycle the cycle model's."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from systolith.sim.verilated import open_device
from systolith.sw.errors import CapacityError
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.settings import Settings
from systolith.sw.train.trainer import Trainer
from tests.training_device import Compared, Timed, config, everything
from tests.training_networks import networks, patches, small

pytestmark = pytest.mark.slow

CONFIG = config(rows=4, columns=4, accumulator_depth=128)


@pytest.fixture(scope="module")
def device():
    backend = open_device("", CONFIG)
    yield backend
    backend.close()


def train(device, network, *, batch=4, micro=2, count=8, loss="cross-entropy", data=None,
          **options):
    """Train for an epoch, comparing every job; return the trainer."""
    plan = plan_training(network, loss)
    shape = network.shapes[network.output]
    random = np.random.default_rng(2)
    x = random.standard_normal((count, *network.shapes[network.input]))
    labels = random.integers(0, np.prod(shape), count)
    executor = Compared(plan, device, CONFIG, micro, Timed)
    trainer = Trainer(plan, executor, Settings(
        epochs=1, batch=batch, micro_batch=micro, **{"rate": 0.01} | options),
        *(data or (x, labels)))
    trainer.run()
    return trainer


@settings(max_examples=20, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@given(networks(), st.booleans())
def test_random_networks(device, network, decay):
    try:
        train(device, network, decay=1e-3 if decay else 0.0)
    except CapacityError:
        assume(False)


def test_a_network_with_everything(device):
    train(device, everything(), decay=1e-3)


def test_it_learns(device):
    trainer = train(device, small(), batch=8, micro=4, data=patches(), rate=0.05)
    assert trainer.executor.device.cycles > 0
