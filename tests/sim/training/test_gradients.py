"""Every item of a training step against float64, and whole networks against finite differences.

The bound of an item: from its own operands, it is the exact result rounded once. So it differs
by at most half a step of its result (a whole one where rounding is stochastic), and where a
coefficient takes part by 2**-15 of the result more. The softmax is in
``tests/sw/train/test_numerics.py``.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.sim.training.golden import GoldenExecutor
from systolith.sw.train.builder import NetworkBuilder
from systolith.sw.train.gradients import plan_training
from systolith.sw.train.graph import AveragePool, MaxPool, Rectify
from systolith.sw.train.numerics import HIGH, LOW
from systolith.sw.train.scales import Scales, quantize
from systolith.sw.train.steps import (
    AverageBackward,
    BiasGradient,
    ConvData,
    ConvWeights,
    Forward,
    GradientSum,
    Loss,
    MaxBackward,
    gradient_of,
)
from tests import training_reference as reference
from tests.training_networks import block, finished, networks


class Prepared:
    """A network with calibrated scales, and one batch."""

    def __init__(self, network, loss="cross-entropy", batch=3, seed=0):
        random = np.random.default_rng(seed)
        self.network = network
        self.plan = plan_training(network, loss)
        self.scales = Scales(self.plan, 2.0)
        self.executor = GoldenExecutor(self.plan)
        real = random.uniform(-2, 2, (batch, *network.shapes[network.input]))
        self.x = quantize(real, self.exponents[network.input])
        shape = network.shapes[network.output]
        self.real_targets = random.uniform(-1, 1, (batch, *shape))
        self.labels = random.integers(0, shape[2], batch)
        self.loss = loss
        self.scales.calibrate(lambda exponents: self.trace()[1].ranges)

    @property
    def exponents(self):
        return self.scales.exponents

    @property
    def targets(self):
        if self.loss == "mse":
            return quantize(self.real_targets, self.exponents[self.network.output])
        return self.labels

    def trace(self, seed=1):
        self.executor.upload(self.scales.stored())
        return self.executor.trace(self.x, self.targets, self.exponents, seed)

    def real(self, name, values):
        return np.ldexp(values.astype(np.float64), self.exponents[name])

    def parameters(self):
        stored = self.scales.stored()
        return {name: self.real(name, stored[name]) for name in self.network.parameters}


def exact(item, values, parameters, network):
    """Return the real result of an item from its real operands, and the step of its rounding."""
    if isinstance(item, Forward):
        y = reference.forward(item.node, [values[name] for name in item.node.inputs], parameters,
                              network.shapes[item.result])
        rectified = item.node.rectify or isinstance(item.node, Rectify)
        return np.maximum(y, 0) if rectified else y
    if isinstance(item, GradientSum):
        return sum(values[part] for part in item.parts)
    dy, node = values[item.dy], item.node
    if isinstance(item, BiasGradient):
        return dy.sum(axis=(0, 1, 2))
    x = values[node.x]
    if isinstance(item, ConvWeights):
        return reference.weight_gradient(node, x, dy, parameters[node.weights].shape)
    assert isinstance(item, ConvData | MaxBackward | AverageBackward)
    return reference.data_gradient(node, x, dy, parameters)


@settings(max_examples=200)
@given(networks(), st.sampled_from(["cross-entropy", "mse"]))
def test_every_item_is_the_exact_result_rounded_once(network, loss):
    prepared = Prepared(network, loss)
    elements, _ = prepared.trace()
    executor, parameters = prepared.executor, prepared.parameters()
    elements |= executor.gradients
    values = {name: prepared.real(name, q) for name, q in elements.items()
              if name in prepared.exponents}
    checked = 0
    for item in prepared.plan.items:
        if isinstance(item, Loss):
            continue
        result = exact(item, values, parameters, network)
        if item.mask is not None:
            result = result * (values[item.mask] > 0)
        steps = np.ldexp(result, -prepared.exponents[item.result])
        stochastic = isinstance(item, ConvWeights | BiasGradient)
        bound = 1.0 if stochastic else 0.5
        if isinstance(item, AverageBackward) or isinstance(getattr(item, "node", None),
                                                           AveragePool):
            bound = bound + 2.0 ** -15 * np.abs(steps)
        got = elements[item.result]
        assert (np.abs(got - np.clip(steps, LOW, HIGH)) <= bound + 1e-6).all(), item
        checked += got.size
    assert checked > 0


@settings(max_examples=60)
@given(networks(), st.sampled_from(["cross-entropy", "mse"]))
def test_the_loss_gradient_is_that_of_float64(network, loss):
    prepared = Prepared(network, loss)
    elements, report = prepared.trace()
    output = network.output
    targets = (prepared.real(output, prepared.targets) if loss == "mse" else prepared.targets)
    value, gradient = reference.loss_of(prepared.real(output, elements[output]), targets, loss)
    mask = prepared.plan.loss.mask
    if mask is not None:
        gradient = gradient * (elements[mask] > 0)
    got = prepared.real(gradient_of(output), elements[gradient_of(output)])
    step = 2.0 ** prepared.exponents[gradient_of(output)]
    table = 2.0 ** -11 + 8 * 2.0 ** -15 if loss == "cross-entropy" else 0
    assert np.abs(got - gradient).max() <= step + table + 2.0 ** -14 * np.abs(gradient).max()
    assert report.loss == pytest.approx(value, rel=1e-3, abs=1e-3 * len(prepared.x))


@settings(max_examples=40)
@given(networks(), st.sampled_from(["cross-entropy", "mse"]))
def test_the_reference_agrees_with_finite_differences(network, loss):
    random = np.random.default_rng(3)
    x = random.uniform(-2, 2, (2, *network.shapes["x"]))
    shape = network.shapes[network.output]
    targets = random.uniform(-1, 1, (2, *shape)) if loss == "mse" else random.integers(
        0, shape[2], 2)
    parameters = dict(network.parameters)
    _, gradients, _ = reference.gradients(network, x, targets, parameters, loss)

    def at(moved):
        values = reference.run(network, x, moved)
        return reference.loss_of(values[network.output], targets, loss)[0]

    compared = 0
    for name, values in parameters.items():
        direction = random.standard_normal(values.shape)
        slopes = []
        for delta in (1e-6, 1e-7):
            up, down = (at(parameters | {name: values + sign * delta * direction})
                        for sign in (1, -1))
            slopes.append((up - down) / (2 * delta))
        expected = float((gradients[name] * direction).sum())
        if abs(slopes[0] - slopes[1]) > 1e-4 * (1 + abs(expected)):
            continue                             # a kink of ReLU or maximum lies between
        compared += 1
        assert slopes[0] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert compared > 0


def smooth():
    """A network in which 16 bits and float64 take the same decisions nearly everywhere."""
    builder = NetworkBuilder("smooth", (8, 8, 2))
    builder.conv(6, (3, 3), pads=(1, 1, 1, 1), rectify=True)
    builder.max_pool()
    block(builder)
    builder.conv(8, (3, 3), stride=(2, 2), pads=(1, 0, 1, 0))
    builder.average_pool((2, 1), (1, 1))
    builder.dense(5)
    return finished(builder, 5)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_a_networks_gradients_are_those_of_float64(loss):
    """From the input to every parameter: within 0.2 % of float64's norm (measured: 0.04 %)."""
    prepared = Prepared(smooth(), loss, batch=16)
    prepared.trace()
    network = prepared.network
    output = network.output
    targets = (prepared.real(output, prepared.targets) if loss == "mse" else prepared.targets)
    _, gradients, _ = reference.gradients(network, prepared.real("x", prepared.x), targets,
                                          prepared.parameters(), loss)
    for name in prepared.plan.trained:
        got = prepared.real(gradient_of(name), prepared.executor.gradients[gradient_of(name)])
        error = np.linalg.norm(got - gradients[name]) / np.linalg.norm(gradients[name])
        assert error < 0.002, name


def test_the_fixed_point_loss_falls_as_its_gradients_say():
    """Finite differences of the whole fixed-point network's loss, along its own gradient."""
    prepared = Prepared(smooth(), batch=16)
    prepared.trace()
    stored = prepared.scales.stored()

    def loss(arrays):
        prepared.executor.upload(arrays)
        return prepared.executor.accumulate(prepared.x, prepared.targets, prepared.exponents,
                                            1).loss

    prepared.executor.upload(stored)
    prepared.executor.accumulate(prepared.x, prepared.targets, prepared.exponents, 1)
    gradients = {name: prepared.real(gradient_of(name),
                                     prepared.executor.gradients[gradient_of(name)])
                 for name in prepared.plan.trained}
    norm = sum((g ** 2).sum() for g in gradients.values())
    pace = 0.02 / norm ** 0.5
    moved = [stored | {name: stored[name] + np.rint(np.ldexp(
        sign * pace * g, -prepared.exponents[name])).astype(np.int16)
        for name, g in gradients.items()} for sign in (1, -1)]
    slope = (loss(moved[0]) - loss(moved[1])) / (2 * pace)
    assert slope == pytest.approx(norm, rel=0.02)


def test_a_maximum_prefers_the_first_and_never_its_edge():
    builder = NetworkBuilder("edge", (4, 4, 1))
    builder.conv(1, (1, 1), bias=False)
    builder.max_pool((3, 3), (2, 2), (1, 1, 1, 1))
    builder.dense(2)
    plan = plan_training(builder.network)
    executor = GoldenExecutor(plan)
    scales = Scales(plan, 1.0)
    exponents, arrays = dict.fromkeys(scales.exponents, 0), scales.stored()
    arrays["conv0.weights"][:] = 1
    executor.upload(arrays)
    pool = next(node for node in builder.network.nodes if isinstance(node, MaxPool))
    for value in (LOW, 0):
        x = np.full((1, 4, 4, 1), value, np.int16)
        values, _ = executor.trace(x, np.array([0]), exponents, 1)
        assert (values[pool.x] == value).all()
        record = values[f"record of {pool.output}"]
        assert record.reshape(-1).tolist() == [4, 3, 1, 0]
