"""The float32 trainer against the plain float64 one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.sim.training.real import RealNetwork, train_real
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.settings import Settings
from tests import training_reference as reference
from tests.training_networks import networks, patches, small


@settings(max_examples=60)
@given(networks(), st.sampled_from(["cross-entropy", "mse"]))
def test_one_step_is_that_of_float64(network, loss):
    random = np.random.default_rng(1)
    x = random.uniform(-1, 1, (4, *network.shapes["x"]))
    shape = network.shapes[network.output]
    targets = random.uniform(-1, 1, (4, *shape)) if loss == "mse" else random.integers(
        0, shape[2], 4)
    real = RealNetwork(plan_training(network, loss))
    got = real.step(x, targets, Rule(rate=0.5, batch=4))
    expected, gradients, _ = reference.gradients(network, x, targets, network.parameters, loss)
    assert got == pytest.approx(expected / 4, rel=1e-4, abs=1e-5)
    for name, gradient in gradients.items():
        moved = network.parameters[name] - 0.5 * gradient / 4
        np.testing.assert_allclose(real.parameters[name], moved, rtol=1e-4, atol=1e-4)


def test_momentum_and_decay():
    x, labels = patches()
    plan = plan_training(small())
    options = {"epochs": 12, "batch": 8, "rate": 0.05, "decay": 1e-3}
    history = list(train_real(plan, Settings(**options), x, labels, patches(seed=1)))
    assert history[-1][0] < 0.2 * history[0][0] and history[-1][1] > 0.95
