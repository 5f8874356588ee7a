"""Networks of published shapes: random weights, factors fitted analytically.

Cycles, memory and program size depend on shapes only. The rescaling factors follow from the
weights: a sum of products of independent operands spreads by the root of the sum of squares, and is
scaled to ``SPREAD``. So results use the int8 range, and the networks also serve to compare RTL and
golden model.

References
----------
Banbury et al. 2021, "MLPerf Tiny Benchmark": ResNet-8, DS-CNN, MobileNetV1 0.25, autoencoder.
LeCun et al. 1998, "Gradient-based learning applied to document recognition": LeNet-5.
"""

from collections.abc import Callable

import numpy as np

from systolith.sw.ir import Add, Conv, Graph, Op, Pool, Port, Requant, Tensor
from systolith.sw.numerics import ADD_LEFT_SHIFT, quantize_multiplier

__all__ = [
    "NETWORKS", "Builder", "autoencoder", "conv3x3", "dscnn", "lenet", "lenet_dense",
    "lenet_features", "mobilenetv1_025", "resnet8",
]

#: Standard deviation of a layer's results before saturation, in steps of the output.
SPREAD = 60
#: Root mean square of what reaches the next layer: of the input, of results, of those after ReLU.
_NOISE, _LINEAR, _RECTIFIED = 74, SPREAD, SPREAD / np.sqrt(2)
#: Scale of every tensor; only their ratios matter, and only to additions.
_SCALE = 0.05
#: Share of the plain sum of two maps that an addition keeps: that of independent ones.
_ADD_FACTOR = 1 / np.sqrt(2)


class Builder:
    """A sequential network under construction; ``x`` is the tensor the next layer reads.

    Parameters
    ----------
    name : str
        Name of the graph.
    shape : tuple of int
        Height, width and channels of the input.
    seed : int
        Decides the weights.
    """

    def __init__(self, name: str, shape: tuple[int, int, int], seed: int = 1):
        self._rng = np.random.default_rng(seed)
        self._graph = Graph(name=name, tensors={}, ops=[], inputs=[], outputs=[])
        self._rms: dict[str, float] = {}
        self.x = self._tensor(shape, 0, _NOISE)
        self._graph.inputs.append(self._port("x"))

    def finish(self) -> Graph:
        """Make the current tensor the output and return the graph."""
        self._graph.outputs.append(self._port("y"))
        return self._graph

    def conv(self, outputs: int, kernel: tuple[int, int] = (3, 3), stride: int = 1, *,
             same: bool = True, relu: bool = True, depthwise: bool = False,
             source: str | None = None) -> str:
        """Add a convolution (TensorFlow's SAME or VALID) of ``source`` or the current tensor."""
        source = source or self.x
        h, w, c = self._graph.tensors[source].shape
        (rows, top, bottom), (columns, left, right) = (
            _axis(length, k, stride, same) for length, k in zip((h, w), kernel, strict=True))
        groups = c if depthwise else 1
        weights = self._rng.integers(-127, 128, (outputs, *kernel, c // groups)).astype(np.int8)
        norm = np.sqrt((weights.astype(float) ** 2).sum(axis=(1, 2, 3)))
        spread = norm * self._rms[source]
        bias = np.rint(0.3 * self._rng.normal(size=outputs) * spread).astype(np.int32)
        self.x = self._tensor((rows, columns, outputs), *_activation(relu))
        self._append(Conv(
            name=self._name("depthwise" if depthwise else "conv"), kind="Conv", inputs=(source,),
            output=self.x, weights=weights, bias=bias, requant=_requant(SPREAD / spread),
            stride=(stride, stride), pads=(top, left, bottom, right), groups=groups))
        return self.x

    def depthwise(self, stride: int = 1) -> str:
        """Add a 3 x 3 depthwise convolution."""
        return self.conv(self._shape[2], stride=stride, depthwise=True)

    def dense(self, outputs: int, *, relu: bool = True) -> str:
        """Add a fully connected layer."""
        return self.conv(outputs, self._shape[:2], same=False, relu=relu)

    def add(self, other: str) -> str:
        """Add the addition of the current tensor and ``other``, with ReLU."""
        first, shape = self.x, self._shape
        factors = (0.5, 0.5, 2 * _ADD_FACTOR / (1 << ADD_LEFT_SHIFT))
        self.x = self._tensor(shape, *_activation(True))
        self._append(Add(name=self._name("add"), kind="Add", inputs=(first, other), output=self.x,
                         requant=_requant(factors)))
        return self.x

    def pool(self, mode: str, kernel: tuple[int, int]) -> str:
        """Add a ``max`` or ``average`` over windows side by side."""
        source = self._graph.tensors[self.x]
        shape = *(n // k for n, k in zip(source.shape[:2], kernel, strict=True)), source.shape[2]
        self.x = self._tensor(shape, source.zero_point, self._rms[source.name])
        self._append(Pool(name=self._name("pool"), kind=f"{mode.capitalize()}Pool", mode=mode,
                          inputs=(source.name,), output=self.x, kernel=kernel, stride=kernel))
        return self.x

    def global_average(self) -> str:
        """Add the average over the whole map."""
        return self.pool("average", self._shape[:2])

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self._graph.tensors[self.x].shape

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self._graph.ops)}"

    def _append(self, op: Op) -> None:
        self._graph.ops.append(op)

    def _tensor(self, shape: tuple[int, int, int], zero_point: int, rms: float) -> str:
        name = f"t{len(self._graph.tensors)}"
        self._graph.tensors[name] = Tensor(name=name, shape=shape, scale=_SCALE,
                                           zero_point=zero_point)
        self._rms[name] = rms
        return name

    def _port(self, name: str) -> Port:
        return Port(name=name, tensor=self.x, shape=self._shape, dtype="int8",
                    permutation=(0, 1, 2))


def _activation(relu: bool) -> tuple[int, float]:
    """Return the zero point (the lowest value is ReLU's bound) and root mean square of results."""
    return (-128, _RECTIFIED) if relu else (0, _LINEAR)


def _axis(length: int, kernel: int, stride: int, same: bool) -> tuple[int, int, int]:
    """Return the results along an axis, and the padding before and after."""
    if not same:
        return (length - kernel) // stride + 1, 0, 0
    results = -(-length // stride)
    pads = max(0, (results - 1) * stride + kernel - length)
    return results, pads // 2, pads - pads // 2


def _requant(factors: np.ndarray | tuple[float, ...]) -> Requant:
    parts = [quantize_multiplier(float(factor)) for factor in factors]
    return Requant(*np.array(parts, np.int32).T)


def resnet8() -> Graph:
    """ResNet-8 for CIFAR-10: three stacks of two convolutions around a residual addition."""
    b = Builder("resnet8", (32, 32, 3))
    skip = b.conv(16)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        inner = b.conv(channels, stride=stride)
        if stride > 1:
            skip = b.conv(channels, (1, 1), stride, relu=False, source=skip)
        b.conv(channels, relu=False, source=inner)
        skip = b.add(skip)
    b.global_average()
    b.dense(10, relu=False)
    return b.finish()


def dscnn() -> Graph:
    """DS-CNN for keyword spotting: four depthwise separable blocks of 64 channels."""
    b = Builder("dscnn", (49, 10, 1))
    b.conv(64, (10, 4), 2)
    for _ in range(4):
        b.depthwise()
        b.conv(64, (1, 1))
    b.global_average()
    b.dense(12, relu=False)
    return b.finish()


def mobilenetv1_025() -> Graph:
    """MobileNetV1 of width 0.25 for visual wake words."""
    b = Builder("mobilenetv1_025", (96, 96, 3))
    b.conv(8, stride=2)
    for channels, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2),
                             *[(128, 1)] * 5, (256, 2), (256, 1)):
        b.depthwise(stride)
        b.conv(channels, (1, 1))
    b.global_average()
    b.dense(2, relu=False)
    return b.finish()


def autoencoder() -> Graph:
    """Autoencoder for anomaly detection: ten fully connected layers."""
    b = Builder("autoencoder", (1, 1, 640))
    for outputs in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        b.dense(outputs)
    b.dense(640, relu=False)
    return b.finish()


def lenet() -> Graph:
    """LeNet-5 for 28 x 28 digits."""
    b = Builder("lenet", (28, 28, 1))
    _features(b)
    _classifier(b)
    return b.finish()


def lenet_features() -> Graph:
    """LeNet-5's convolutions, up to the 5 x 5 x 16 map."""
    b = Builder("lenet features", (28, 28, 1))
    _features(b)
    return b.finish()


def lenet_dense(batch: int) -> Graph:
    """LeNet-5's fully connected layers on a whole batch: every image is a pixel of a row."""
    b = Builder("lenet dense", (1, batch, 400))
    for outputs in (120, 84):
        b.conv(outputs, (1, 1))
    b.conv(10, (1, 1), relu=False)
    return b.finish()


def _features(b: Builder) -> None:
    b.conv(6, (5, 5))
    b.pool("max", (2, 2))
    b.conv(16, (5, 5), same=False)
    b.pool("max", (2, 2))


def _classifier(b: Builder) -> None:
    for outputs in (120, 84):
        b.dense(outputs)
    b.dense(10, relu=False)


def conv3x3(channels: int = 32, size: int = 16) -> Graph:
    """One 3 x 3 convolution with as many outputs as inputs and a halo of one pixel."""
    b = Builder(f"conv3x3 {channels}->{channels} at {size}x{size}", (size, size, channels))
    b.conv(channels)
    return b.finish()


#: Every network by its name in tables.
NETWORKS: dict[str, Callable[[], Graph]] = {
    "resnet8": resnet8, "dscnn": dscnn, "mobilenetv1-0.25-96": mobilenetv1_025,
    "autoencoder": autoencoder, "lenet": lenet, "conv3x3-32-16x16": conv3x3,
}
