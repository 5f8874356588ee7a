"""The update on the golden executor: its mean is exact, its speed enough."""

import time

import numpy as np
import pytest

from systolith.examples.fixed_point import lenet
from systolith.sim.training.golden import GoldenExecutor, default_places
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.numerics import next_seed
from systolith.sw.train.scales import Scales
from systolith.sw.train.settings import Settings
from systolith.sw.train.steps import gradient_of
from systolith.sw.train.trainer import Trainer
from tests.training_networks import small


def prepared(seed=0):
    """Return an executor with random parameters and gradients, and the exponents."""
    plan = plan_training(small())
    scales = Scales(plan, 1.0)
    scales.exponents |= {gradient_of(name): -12 for name in plan.trained}
    executor = GoldenExecutor(plan)
    random = np.random.default_rng(seed)
    executor.upload({name: random.integers(-9000, 9000, array.shape).astype(np.int16)
                     for name, array in scales.stored().items()})
    return executor, scales.exponents


@pytest.mark.parametrize("momentum, decay", [(0.0, 0.0), (0.9, 0.0), (0.9, 0.01), (0.0, 0.01)])
def test_the_update_is_right_on_average(momentum, decay):
    """Over 400 seeds the mean is within 0.25 steps: five standard errors of stochastic rounding."""
    executor, exponents = prepared()
    stored = executor.download()
    rule, seed = Rule(rate=0.01, batch=8, momentum=momentum, decay=decay), 1
    total = {name: np.zeros(array.shape) for name, array in stored.items()}
    for _ in range(400):
        executor.upload(stored)
        executor.update(rule, exponents, seed)
        seed = next_seed(seed)
        for name, array in executor.download().items():
            total[name] += array / 400
    for name in executor.plan.trained:
        def real(key):
            return np.ldexp(stored[key].astype(np.float64), exponents[key])

        gradient = gradient_of(name)
        moved = real(name) - 0.01 / 8 * real(gradient)
        kept = momentum * real(gradient)
        if stored[name].ndim > 1:
            kept = kept + 8 * decay * moved
        for key, values in ((name, moved), (gradient, kept)):
            steps = np.ldexp(values, -exponents[key])
            assert (np.abs(total[key] - steps) <= 0.25 + 2.0 ** -15 * np.abs(steps)).all(), key
        assert np.abs(np.ldexp(moved, -exponents[name]) - stored[name]).max() > 1
        assert momentum or decay or not total[gradient].any()


def test_updates_below_half_a_step_are_not_lost():
    executor, exponents = prepared()
    stored = executor.download()
    rule, seed = Rule(rate=1e-5, batch=8), 1
    gradient = np.ldexp(stored[gradient_of("conv2.weights")].astype(float), -12)
    expected = np.ldexp(1e-5 / 8 * gradient, -exponents["conv2.weights"])
    assert np.abs(expected).max() < 0.5
    for _ in range(1000):
        executor.arrays |= {name: stored[name].copy() for name in executor.gradients}
        executor.update(rule, exponents, seed)
        seed = next_seed(seed)
    moved = stored["conv2.weights"].astype(float) - executor.download()["conv2.weights"]
    slope = (moved * expected).sum() / (expected ** 2).sum()
    assert slope == pytest.approx(1000, rel=0.05)


def test_places_decide_the_rounding():
    _, exponents = prepared()
    results = []
    for offset in (0, 0, 4096):
        executor, _ = prepared()
        executor.places = {name: places + np.uint32(offset)
                           for name, places in executor.places.items()}
        executor.update(Rule(rate=0.01, batch=8, momentum=0.9), exponents, 5)
        results.append(executor.download()["conv2.weights"])
    assert (results[0] == results[1]).all() and (results[0] != results[2]).any()


def test_default_places_are_all_different():
    places = default_places({"a": (2, 3), "b": (4,)})
    assert np.concatenate([p.reshape(-1) for p in places.values()]).tolist() == list(range(10))


def test_rescaling_shifts_stored_numbers():
    executor, _ = prepared()
    executor.arrays["conv2.bias"] = np.array([5, -5, 100], np.int16)
    executor.rescale("conv2.bias", 1)
    assert executor.arrays["conv2.bias"].tolist() == [3, -2, 50]
    executor.rescale("conv2.bias", -2)
    assert executor.arrays["conv2.bias"].tolist() == [12, -8, 200]


def test_lenet_trains_more_than_300_images_a_second():
    plan = plan_training(lenet(1))
    random = np.random.default_rng(0)
    x, labels = random.uniform(0, 1, (256, 28, 28, 1)), random.integers(0, 10, 256)
    trainer = Trainer(plan, GoldenExecutor(plan), Settings(epochs=1), x, labels)
    begin = time.process_time()
    trainer.run()
    assert 256 / (time.process_time() - begin) > 300
