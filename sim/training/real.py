"""The same training step in float32: what fixed point is measured against.

Same items, same batches in the same order, same update; no exponents, no rounding to speak of.
"""

import math
from collections.abc import Iterator

import numpy as np

from systolith.sim.training.windows import columns, pad, spread, taps
from systolith.sw.train.data import batches
from systolith.sw.train.executor import Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Rectify
from systolith.sw.train.settings import Settings
from systolith.sw.train.steps import (
    AverageBackward,
    BiasGradient,
    ConvData,
    ConvWeights,
    CrossEntropy,
    Forward,
    GradientSum,
    Item,
    MaxBackward,
    SquaredError,
    gradient_of,
)

__all__ = ["RealNetwork", "train_real"]


class RealNetwork:
    """A plan in float32.

    Attributes
    ----------
    parameters : dict of name to float32 array
        Weights and biases.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.parameters = {name: values.astype(np.float32)
                           for name, values in plan.network.parameters.items()}
        self._velocity = {name: np.zeros_like(self.parameters[name]) for name in plan.trained}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the logits float32[n, h, w, c] of float[n, h, w, c]."""
        values = {self.plan.network.input: x.astype(np.float32)}
        for item in self.plan.forward:
            self._write(item, values, None)
        return values[self.plan.network.output]

    def step(self, x: np.ndarray, targets: np.ndarray, rule: Rule) -> float:
        """Train on one batch; return its mean loss."""
        values = {self.plan.network.input: x.astype(np.float32)}
        for item in self.plan.items:
            self._write(item, values, targets)
        for name in self.plan.trained:
            weights = self.parameters[name]
            gradient = values[gradient_of(name)] / rule.batch
            if weights.ndim > 1:
                gradient = gradient + rule.decay * weights
            self._velocity[name] = rule.momentum * self._velocity[name] + gradient
            self.parameters[name] = (weights - rule.rate * self._velocity[name]).astype(np.float32)
        return _loss(self.plan, values, targets) / len(x)

    def _write(self, item: Item, values: dict[str, np.ndarray], targets) -> None:
        if isinstance(item, Forward):
            result = self._forward(item, values)
        elif isinstance(item, CrossEntropy):
            result = _softmax(values[item.logits])
            result.reshape(len(result), -1)[np.arange(len(result)), targets] -= 1
        elif isinstance(item, SquaredError):
            logits = values[item.logits]
            result = (2 / logits[0].size) * (logits - targets)
        else:
            result = self._backward(item, values)
        if item.mask is not None:
            result = np.where(values[item.mask] > 0, result, 0)
        values[item.result] = result.astype(np.float32, copy=False)

    def _forward(self, item: Forward, values: dict[str, np.ndarray]) -> np.ndarray:
        node, x = item.node, values[item.node.x]
        h, w, channels = self.plan.network.shapes[node.output]
        match node:
            case Conv():
                weights = self.parameters[node.weights].reshape(channels, -1)
                y = (columns(x, node, np.float32) @ weights.T).reshape(-1, h, w, channels)
                if node.bias is not None:
                    y += self.parameters[node.bias]
            case MaxPool():
                candidates = np.stack(taps(pad(x, node.pads, -math.inf), node, (h, w)))
                y = candidates.max(axis=0)
                if item.record is not None:
                    values[item.record] = candidates.argmax(axis=0)
            case AveragePool():
                y = sum(taps(pad(x, node.pads), node, (h, w))) / math.prod(node.kernel)
            case Add():
                y = x + values[node.inputs[1]]
            case Rectify():
                y = np.maximum(x, 0)
        return np.maximum(y, 0) if node.rectify else y

    def _backward(self, item: Item, values: dict[str, np.ndarray]) -> np.ndarray:
        if isinstance(item, GradientSum):
            return sum(values[part] for part in item.parts)
        node, dy = item.node, values[item.dy]
        n, h, w, channels = dy.shape
        if isinstance(item, BiasGradient):
            return dy.sum(axis=(0, 1, 2))
        rows, size = dy.reshape(-1, channels), self.plan.network.shapes[node.x]
        match item:
            case ConvWeights():
                products = rows.T @ columns(values[node.x], node, np.float32)
                return products.reshape(self.parameters[node.weights].shape)
            case ConvData():
                parts = rows @ self.parameters[node.weights].reshape(channels, -1)
                parts = parts.reshape(n, h, w, -1, size[2])
            case MaxBackward():
                count = np.arange(math.prod(node.kernel))[:, None]
                parts = np.where(values[item.record][:, :, :, None] == count,
                                 dy[:, :, :, None], np.float32(0))
            case AverageBackward():
                count = math.prod(node.kernel)
                parts = np.broadcast_to(dy[:, :, :, None] / np.float32(count),
                                        (n, h, w, count, channels))
        return spread(parts, node, size[:2])


def train_real(plan: Plan, settings: Settings, x: np.ndarray, targets: np.ndarray,
               validation: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[float, float]]:
    """Train in float32 as :class:`systolith.sw.train.trainer.Trainer` would in fixed point.

    Yields
    ------
    loss, accuracy : float
        After every epoch: the mean over its batches, and the share of validation samples right.
    """
    network = RealNetwork(plan)
    for epoch in range(settings.epochs):
        order = list(batches(len(x), settings.batch, settings.seed, epoch))
        losses = []
        for number, indices in enumerate(order):
            rate = settings.rate * settings.schedule.factor(epoch + number / len(order))
            losses.append(network.step(x[indices], targets[indices], Rule(
                rate=rate, batch=settings.batch, momentum=settings.momentum,
                decay=settings.decay)))
        vx, labels = validation
        logits = np.concatenate([network.predict(vx[start:start + settings.batch])
                                 for start in range(0, len(vx), settings.batch)])
        right = logits.reshape(len(logits), -1).argmax(axis=1) == labels
        yield float(np.mean(losses)), float(right.mean())


def _softmax(logits: np.ndarray) -> np.ndarray:
    flat = logits.reshape(len(logits), -1)
    powers = np.exp(flat - flat.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).reshape(logits.shape)


def _loss(plan: Plan, values: dict[str, np.ndarray], targets: np.ndarray) -> float:
    logits = values[plan.network.output]
    if isinstance(plan.loss, SquaredError):
        return float(np.square(logits - targets).sum() / logits[0].size)
    flat = _softmax(logits).reshape(len(logits), -1)
    right = flat[np.arange(len(flat)), targets]
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).sum())
