"""Every item of a training step against float64, and whole networks against finite differences.

The bound of an item: from its own operands, it is the exact result rounded once. So it differs
by at most half a step of its result (a whole one where rounding is stochastic), and where a
coefficient takes part by 2**-15 of the result more. The softmax is in
``tests/sw/train/test_numerics.py``.

Items run on ``machine:``; float64 is stated window by window, and is PyTorch's autograd where that
is installed.
"""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.sim.machine_device import MachineDevice
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
from tests.training_device import Traced, config
from tests.training_networks import LAYERS, block, finished, layers, networks

#: Memory for all that networks here have.
DEVICE = config(banks=8)
LOSSES = st.sampled_from(["cross-entropy", "mse"])


@pytest.fixture(scope="module")
def float64():
    """What is exact: PyTorch, or the plain statement, which is equal to it."""
    if find_spec("torch") is None:
        return reference
    from tests import training_autograd
    return training_autograd


class Prepared:
    """A network with calibrated scales on a device, and one batch."""

    def __init__(self, network, loss="cross-entropy", batch=3, seed=0):
        random = np.random.default_rng(seed)
        self.network = network
        self.plan = plan_training(network, loss)
        self.scales = Scales(self.plan, 2.0)
        self.device = Traced(self.plan, MachineDevice(DEVICE), DEVICE, batch)
        self.executor = GoldenExecutor(self.plan, self.device.places())
        real = random.uniform(-2, 2, (batch, *network.shapes[network.input]))
        self.x = quantize(real, self.exponents[network.input])
        shape = network.shapes[network.output]
        self.real_targets = random.uniform(-1, 1, (batch, *shape))
        self.labels = random.integers(0, shape[2], batch)
        self.loss = loss
        self.scales.calibrate(lambda exponents: self.golden()[1].ranges)

    @property
    def exponents(self):
        return self.scales.exponents

    @property
    def targets(self):
        if self.loss == "mse":
            return quantize(self.real_targets, self.exponents[self.network.output])
        return self.labels

    def golden(self):
        self.executor.upload(self.scales.stored())
        return self.executor.trace(self.x, self.targets, self.exponents, 1)

    def machine(self):
        """Return every tensor, of the device; the golden model's are equal."""
        self.device.upload(self.scales.stored())
        values = self.device.trace(self.x, self.targets, self.exponents, 1)
        expected = self.golden()[0] | self.executor.gradients
        for name, got in values.items():
            np.testing.assert_array_equal(got, expected[name], name)
        return values

    def real(self, name, values):
        return np.ldexp(values.astype(np.float64), self.exponents[name])

    @property
    def real_target(self):
        """What the loss compares with."""
        if self.loss == "mse":
            return self.real(self.network.output, self.targets)
        return self.labels

    def parameters(self):
        stored = self.scales.stored()
        return {name: self.real(name, stored[name]) for name in self.network.parameters}


def exact(item, values, parameters, network, float64):
    """Return the real result of an item from its real operands."""
    if isinstance(item, Forward):
        y = float64.forward(item.node, [values[name] for name in item.node.inputs], parameters,
                            network.shapes[item.result])
        rectified = item.node.rectify or isinstance(item.node, Rectify)
        return np.maximum(y, 0) if rectified else y
    if isinstance(item, GradientSum):
        return sum(values[part] for part in item.parts)
    dy, node = values[item.dy], item.node
    if isinstance(item, BiasGradient):
        return float64.bias_gradient(dy)
    x = values[node.x]
    if isinstance(item, ConvWeights):
        return float64.weight_gradient(node, x, dy, parameters[node.weights].shape)
    assert isinstance(item, ConvData | MaxBackward | AverageBackward)
    return float64.data_gradient(node, x, dy, parameters)


def check_items(network, loss, float64):
    """Run a step on the device and compare what every item wrote."""
    prepared = Prepared(network, loss)
    elements, parameters = prepared.machine(), prepared.parameters()
    values = {name: prepared.real(name, q) for name, q in elements.items()}
    for item in prepared.plan.items:
        got = elements[item.result]
        if isinstance(item, Loss):
            check_loss(prepared, item, values, float64)
            continue
        result = exact(item, values, parameters, network, float64)
        if item.mask is not None:
            result = result * (values[item.mask] > 0)
        steps = np.ldexp(result, -prepared.exponents[item.result])
        stochastic = isinstance(item, ConvWeights | BiasGradient)
        bound = 1.0 if stochastic else 0.5
        if isinstance(item, AverageBackward) or isinstance(item.node, AveragePool):
            bound = bound + 2.0 ** -15 * np.abs(steps)
        assert got.size > 0 and got.shape == steps.shape
        assert (np.abs(got - np.clip(steps, LOW, HIGH)) <= bound + 1e-6).all(), item


def check_loss(prepared, item, values, float64):
    """Compare the gradient by the logits: of the softmax by its table, of squares by two steps."""
    name, logits = item.result, values[item.logits]
    _, gradient = float64.loss_of(logits, prepared.real_target, prepared.loss)
    if item.mask is not None:
        gradient = gradient * (values[item.mask] > 0)
    step = 2.0 ** prepared.exponents[name]
    table = 2.0 ** -11 + 8 * 2.0 ** -15 if prepared.loss == "cross-entropy" else 0
    assert (np.abs(values[name] - gradient).max()
            <= step + table + 2.0 ** -14 * np.abs(gradient).max())


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_every_layer_is_the_exact_result_rounded_once(float64, name, loss, data):
    check_items(data.draw(layers(name)), loss, float64)


@settings(max_examples=30, deadline=None)
@given(networks(), LOSSES)
def test_every_item_is_the_exact_result_rounded_once(float64, network, loss):
    check_items(network, loss, float64)


@settings(max_examples=60, deadline=None)
@given(networks(), LOSSES)
def test_the_loss_is_that_of_float64(float64, network, loss):
    prepared = Prepared(network, loss)
    elements, report = prepared.golden()
    output = network.output
    value, _ = float64.loss_of(prepared.real(output, elements[output]), prepared.real_target, loss)
    assert report.loss == pytest.approx(value, rel=1e-3, abs=1e-3 * len(prepared.x))


@settings(max_examples=100, deadline=None)
@given(networks(), LOSSES)
def test_the_plain_statement_is_autograd(network, loss):
    """So that bounds hold against autograd where PyTorch is not installed."""
    pytest.importorskip("torch", reason="PyTorch is optional: pip install --group train")
    from tests import training_autograd
    random = np.random.default_rng(3)
    x = random.uniform(-2, 2, (3, *network.shapes["x"]))
    shape = network.shapes[network.output]
    targets = random.uniform(-1, 1, (3, *shape)) if loss == "mse" else random.integers(
        0, shape[2], 3)
    value, parameters, tensors = reference.gradients(network, x, targets, network.parameters, loss)
    expected, *others = training_autograd.gradients(network, x, targets, network.parameters, loss)
    assert value == pytest.approx(expected, rel=1e-12)
    for found, autograd in zip((parameters, tensors), others, strict=True):
        assert found.keys() == autograd.keys()
        for name, gradient in found.items():
            np.testing.assert_allclose(gradient, autograd[name], rtol=1e-9, atol=1e-12)


@settings(max_examples=40)
@given(networks(), LOSSES)
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
def test_a_networks_gradients_are_those_of_float64(float64, loss):
    """From the input to every parameter: within 0.2 % of float64's norm (measured: 0.04 %)."""
    prepared = Prepared(smooth(), loss, batch=8)
    elements = prepared.machine()
    _, gradients, _ = float64.gradients(
        prepared.network, prepared.real("x", prepared.x), prepared.real_target,
        prepared.parameters(), loss)
    for name in prepared.plan.trained:
        got = prepared.real(gradient_of(name), elements[gradient_of(name)])
        error = np.linalg.norm(got - gradients[name]) / np.linalg.norm(gradients[name])
        assert error < 0.002, name


def test_the_fixed_point_loss_falls_as_its_gradients_say():
    """Finite differences of the whole fixed-point network's loss, along its own gradient."""
    prepared = Prepared(smooth(), batch=8)
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
