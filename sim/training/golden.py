"""A training step in integer NumPy, item by item: what the answer is.

Arithmetic is that of :mod:`systolith.sw.train.numerics`; what a device computes is compared with
it by equality.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from systolith.sim.training.windows import columns, pad, spread, taps
from systolith.sw.train import numerics
from systolith.sw.train.executor import Report, Rule
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Rectify
from systolith.sw.train.loss import evaluate
from systolith.sw.train.numerics import LOW, Range, coefficient, finish
from systolith.sw.train.steps import (
    AverageBackward,
    BiasGradient,
    ConvData,
    ConvWeights,
    CrossEntropy,
    Forward,
    GradientSum,
    Item,
    Loss,
    MaxBackward,
    SquaredError,
    chunked,
    gradient_of,
)

__all__ = ["GoldenExecutor", "default_places"]


def default_places(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return an address for every element of the arrays, one array after the other."""
    places, base = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        places[name] = np.arange(base, base + size, dtype=np.uint32).reshape(shape)
        base += size
    return places


class GoldenExecutor:
    """Runs a plan; an :class:`systolith.sw.train.executor.Executor`.

    Parameters
    ----------
    plan : Plan
        The items of a training step.
    places : mapping of name to uint32 array, optional
        The address of every element of parameters and their gradients: what stochastic
        rounding draws from. By default one array after the other.
    chunks : mapping of parameter name to int, optional
        Images over which its gradient is summed exactly, before it is rounded and added to what
        there is. By default all of a micro-batch.
    """

    def __init__(self, plan: Plan, places: Mapping[str, np.ndarray] | None = None,
                 chunks: Mapping[str, int] | None = None):
        self.plan = plan
        self.shapes = plan.network.shapes
        shapes = {name(parameter): plan.network.parameters[parameter].shape
                  for name in (str, gradient_of) for parameter in plan.trained}
        self.places = dict(places) if places is not None else default_places(shapes)
        self.chunks = dict(chunks or {})
        self.arrays: dict[str, np.ndarray] = {}

    def upload(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write parameters and gradients, int16 by name."""
        self.arrays = {name: array.copy() for name, array in arrays.items()}

    def download(self) -> dict[str, np.ndarray]:
        """Return parameters and gradients, int16 by name."""
        return {name: array.copy() for name, array in self.arrays.items()}

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients of trained parameters, int16 by name."""
        return {gradient_of(name): self.arrays[gradient_of(name)] for name in self.plan.trained}

    def rescale(self, name: str, by: int) -> None:
        """Shift a parameter or gradient right by ``by`` bits (left if negative)."""
        wide = self.arrays[name].astype(np.int64)
        self.arrays[name], _ = finish(wide << max(0, -by), max(0, by))

    def predict(self, x: np.ndarray, exponents: Mapping[str, int]) -> np.ndarray:
        """Return the logits int16[n, h, w, c] of int16[n, h, w, c]."""
        job = _Job(self, {self.plan.network.input: x}, exponents)
        for item in self.plan.forward:
            job.run(item)
        return job.values[self.plan.network.output]

    def accumulate(self, x: np.ndarray, targets: np.ndarray, exponents: Mapping[str, int],
                   seed: int) -> Report:
        """Run forward, loss and backward on a micro-batch and add to the gradients."""
        return self.trace(x, targets, exponents, seed)[1]

    def trace(self, x: np.ndarray, targets: np.ndarray, exponents: Mapping[str, int],
              seed: int) -> tuple[dict[str, np.ndarray], Report]:
        """Accumulate, and return every tensor of the job beside the report."""
        job = _Job(self, {self.plan.network.input: x}, exponents, targets, seed)
        for item in self.plan.items:
            job.run(item)
        return job.values, job.report

    def update(self, rule: Rule, exponents: Mapping[str, int], seed: int) -> Report:
        """Change parameters by their gradients, and leave what momentum and decay keep of them."""
        report = Report()

        def blend(result: str, factor: float, operand: str, addend: str | None = None,
                  turn: int = 0) -> None:
            scale = coefficient(factor, operand=exponents[operand], result=exponents[result],
                                addend=None if addend is None else exponents[addend])
            sums = scale.factor * self.arrays[operand].astype(np.int64)
            if addend is not None:
                sums += self.arrays[addend].astype(np.int64) << scale.left
            self.arrays[result], found = finish(
                sums, scale.right, random=numerics.draw(self.places[result], seed, turn))
            report.ranges[result] = report.ranges.get(result, Range()) | found

        for name in self.plan.trained:
            gradient = gradient_of(name)
            blend(name, -rule.rate / rule.batch, gradient, name)
            if rule.momentum:
                blend(gradient, rule.momentum, gradient)
            else:
                self.arrays[gradient] = np.zeros_like(self.arrays[gradient])
            if rule.decay and self.arrays[name].ndim > 1:
                blend(gradient, rule.decay * rule.batch, name, gradient, turn=1)
        return report


class _Job:
    """The tensors of one micro-batch."""

    def __init__(self, executor: GoldenExecutor, values: dict[str, np.ndarray],
                 exponents: Mapping[str, int], targets: np.ndarray | None = None, seed: int = 0):
        self.executor = executor
        self.values = values
        self.exponents = exponents
        self.targets = targets
        self.seed = seed
        self.report = Report(samples=len(next(iter(values.values()))))

    def run(self, item: Item) -> None:
        """Run one item and keep what it writes."""
        _RUN[type(item)](self, item)

    def write(self, item: Item, sums: np.ndarray, scale: int, *, rectify: bool = False) -> None:
        """Finish a result from its sums, whose exponent is ``scale``."""
        mask = None if item.mask is None else self.values[item.mask]
        elements, found = finish(sums, self.exponents[item.result] - scale, rectify=rectify,
                                 mask=mask)
        self.values[item.result] = elements
        self.report.ranges[item.result] = found

    def add_gradient(self, item: Item, parameter: str,
                     total: Callable[[slice], np.ndarray]) -> None:
        """Add to a parameter's gradient, rounded stochastically, chunk after chunk of the images.

        ``total``: the sums over some images, int64 of the parameter's shape.
        """
        executor, name, images = self.executor, item.result, self.report.samples
        right = self.exponents[name] - item.sums(self.exponents)
        chunk = executor.chunks.get(parameter, images)
        gradient, found = executor.arrays[name], Range()
        for turn, part in enumerate(chunked(images, chunk)):
            sums = total(slice(part.start, part.stop)) + (gradient.astype(np.int64) << right)
            random = numerics.draw(executor.places[name], self.seed, turn)
            gradient, of_chunk = finish(sums, right, random=random)
            found |= of_chunk
        executor.arrays[name] = gradient
        self.report.ranges[name] = found


def _forward(job: _Job, item: Forward) -> None:
    _FORWARD[type(item.node)](job, item)


def _conv(job: _Job, item: Forward) -> None:
    node, arrays = item.node, job.executor.arrays
    weights = arrays[node.weights]
    n, (h, w, channels) = len(job.values[node.x]), job.executor.shapes[node.output]
    flat = weights.reshape(channels, -1).astype(np.float64)
    sums = (columns(job.values[node.x], node) @ flat.T).astype(np.int64).reshape(n, h, w, channels)
    scale = item.sums(job.exponents)
    if node.bias is not None:
        sums += arrays[node.bias].astype(np.int64) << job.exponents[node.bias] - scale
    job.write(item, sums, scale, rectify=node.rectify)


def _max_pool(job: _Job, item: Forward) -> None:
    node = item.node
    h, w, _ = job.executor.shapes[node.output]
    x = job.values[node.x]
    if any(node.pads):                 # below every element: the edge never wins
        x = pad(x.astype(np.int32), node.pads, LOW - 1)
    best, *others = taps(x, node, (h, w))
    best, winner = best.copy(), np.zeros(best.shape, np.int16)
    for tap, candidate in enumerate(others, 1):
        if item.record is not None:
            winner[candidate > best] = tap
        np.maximum(best, candidate, out=best)
    job.values[node.output] = np.maximum(best, 0 if node.rectify else LOW).astype(np.int16)
    if item.record is not None:
        job.values[item.record] = winner


def _average_pool(job: _Job, item: Forward) -> None:
    node = item.node
    h, w, _ = job.executor.shapes[node.output]
    scale = coefficient(1 / math.prod(node.kernel), operand=job.exponents[node.x],
                        result=job.exponents[item.result])
    total = sum(taps(pad(job.values[node.x].astype(np.int64), node.pads), node, (h, w)))
    job.write(item, scale.factor * total, job.exponents[item.result] - scale.right)


def _add(job: _Job, item: Forward) -> None:
    _sum(job, item, item.node.inputs, rectify=item.node.rectify)


def _sum(job: _Job, item: Item, names: tuple[str, ...], *, rectify: bool = False) -> None:
    scale = item.sums(job.exponents)
    sums = sum(job.values[name].astype(np.int64) << job.exponents[name] - scale for name in names
               if job.exponents[name] >= scale)
    job.write(item, sums, scale, rectify=rectify)


def _rectify(job: _Job, item: Forward) -> None:
    job.values[item.result] = np.maximum(job.values[item.node.x], 0)


def _loss(job: _Job, item: Loss) -> None:
    mask = None if item.mask is None else job.values[item.mask]
    found = evaluate(item, job.values[item.logits], job.targets, job.exponents, mask)
    job.report.loss, job.report.correct = found.total, found.correct
    job.values[item.result] = found.gradient
    if found.range is not None:
        job.report.ranges[item.result] = found.range


def _conv_data(job: _Job, item: ConvData) -> None:
    node = item.node
    dy, weights = job.values[item.dy], job.executor.arrays[node.weights]
    n, h, w, channels = dy.shape
    parts = dy.reshape(-1, channels).astype(np.float64) @ weights.reshape(
        channels, -1).astype(np.float64)
    size = job.executor.shapes[node.x]
    sums = spread(parts.reshape(n, h, w, -1, size[2]), node, size[:2])
    job.write(item, sums.astype(np.int64), item.sums(job.exponents))


def _conv_weights(job: _Job, item: ConvWeights) -> None:
    node, x, dy = item.node, job.values[item.node.x], job.values[item.dy]
    shape = job.executor.arrays[node.weights].shape

    def total(images: slice) -> np.ndarray:
        pixels = dy[images].reshape(-1, dy.shape[3]).astype(np.float64)
        return (pixels.T @ columns(x[images], node)).astype(np.int64).reshape(shape)

    job.add_gradient(item, node.weights, total)


def _bias_gradient(job: _Job, item: BiasGradient) -> None:
    dy = job.values[item.dy]
    job.add_gradient(item, item.node.bias,
                     lambda images: dy[images].sum(axis=(0, 1, 2), dtype=np.int64))


def _max_backward(job: _Job, item: MaxBackward) -> None:
    node, dy, record = item.node, job.values[item.dy], job.values[item.record]
    parts = np.stack([np.where(record == tap, dy, 0) for tap in range(math.prod(node.kernel))],
                     axis=3).astype(np.int64)
    sums = spread(parts, node, job.executor.shapes[node.x][:2])
    job.write(item, sums, item.sums(job.exponents))


def _average_backward(job: _Job, item: AverageBackward) -> None:
    node, dy = item.node, job.values[item.dy].astype(np.int64)
    count = math.prod(node.kernel)
    scale = coefficient(1 / count, operand=job.exponents[item.dy],
                        result=job.exponents[item.result])
    parts = np.broadcast_to((scale.factor * dy)[:, :, :, None], (*dy.shape[:3], count, dy.shape[3]))
    sums = spread(parts, node, job.executor.shapes[node.x][:2])
    job.write(item, sums, job.exponents[item.result] - scale.right)


def _gradient_sum(job: _Job, item: GradientSum) -> None:
    _sum(job, item, item.parts)


_FORWARD = {Conv: _conv, MaxPool: _max_pool, AveragePool: _average_pool, Add: _add,
            Rectify: _rectify}
_RUN = {Forward: _forward, CrossEntropy: _loss, SquaredError: _loss,
        ConvData: _conv_data, ConvWeights: _conv_weights, BiasGradient: _bias_gradient,
        MaxBackward: _max_backward, AverageBackward: _average_backward,
        GradientSum: _gradient_sum}
