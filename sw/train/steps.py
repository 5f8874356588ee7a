"""What one training step consists of: each item a nest (or a few) of the accelerator.

Items name tensors; gradients and records have names of their own, made here. An item
knows which exponent its sums have, so that scales and executors need not know operators.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from systolith.sw.train.graph import AveragePool, Conv, MaxPool, Node
from systolith.sw.train.numerics import MAX_SHIFT

__all__ = ["AverageBackward", "BiasGradient", "ConvData", "ConvWeights", "CrossEntropy", "Forward",
           "GradientSum", "Item", "Loss", "MaxBackward", "SquaredError", "chunked", "common",
           "gradient_of", "record_of"]


def gradient_of(name: str) -> str:
    """Return the name of the loss's gradient by a tensor or parameter.

    A parameter's is added to what momentum and decay left in its place.
    """
    return f"gradient of {name}"


def record_of(pool: MaxPool) -> str:
    """Return the name of the record of which tap won each window, ``ky * kw + kx``."""
    return f"record of {pool.output}"


def chunked(images: int, size: int) -> list[range]:
    """Cut more images than a chunk's size: the first is one image, the last what is left."""
    starts = [0, *range(1, images, size)] if size < images else [0]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], images], strict=True)]


def common(exponents: Iterable[int]) -> int:
    """Return the exponent in which tensors are added: the least, or 31 below the greatest.

    What has still smaller steps does not count: all of it is less than one step of the coarsest.
    """
    exponents = list(exponents)
    return max(min(exponents), max(exponents) - MAX_SHIFT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(ABC):
    """One operation of a training step."""

    #: The network's operation it belongs to; None for the loss.
    node: Node | None
    #: What it writes.
    result: str
    #: Tensor that lets the result through where it is positive (a rectified one), or None.
    mask: str | None = None

    #: The result's exponent is that of the sums, whatever its range.
    fixed: ClassVar[bool] = False

    @abstractmethod
    def sums(self, exponents: Mapping[str, int]) -> int:
        """Return the exponent of the sums, least that the result may have."""

    def terms(self, batch: int, shapes: Mapping[str, tuple[int, int, int]]) -> int:
        """Return the most products one sum has; see :data:`numerics.MAX_TERMS`."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward(Item):
    """The operation itself; a maximum that is trained through also writes its record."""

    node: Node
    record: str | None = None

    def sums(self, exponents):
        """Return that of products, or of the operand with the smallest steps."""
        node = self.node
        if isinstance(node, Conv):
            return exponents[node.x] + exponents[node.weights]
        if isinstance(node, AveragePool):
            return exponents[node.x] - math.prod(node.kernel).bit_length()
        return common(exponents[name] for name in node.inputs)

    def terms(self, batch, shapes):
        """Return those of a window and its channels."""
        node = self.node
        if isinstance(node, Conv):
            return math.prod(node.kernel) * shapes[node.x][2]
        return math.prod(node.kernel) if isinstance(node, AveragePool) else len(node.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(Item):
    """The loss of the logits and its gradient by them; summed over the batch, not averaged."""

    logits: str

    #: Map of what the samples should give: the host writes it before the step.
    targets: ClassVar[str] = "targets of the loss"

    @property
    @abstractmethod
    def kept(self) -> str:
        """Map of what the loss's value is made of: the host reads it after the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(Loss):
    """Of the softmax; the gradient has 15 fraction bits, always: it is less than 1."""

    fixed: ClassVar[bool] = True

    @property
    def kept(self):
        """Return the map of the labels: results of the loss unit lie beside them."""
        return self.targets

    def sums(self, exponents):
        """Return that of fifteen fraction bits."""
        return -15


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaredError(Loss):
    """The mean over a sample's outputs of the squared distance to its target."""

    @property
    def kept(self):
        """Return the logits."""
        return self.logits

    def sums(self, exponents):
        """Return that of the logits."""
        return exponents[self.logits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backward(Item):
    """A step of the chain rule."""

    #: Gradient of the operation's result.
    dy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvData(Backward):
    """Gradient by a convolution's input: every pixel of ``dy`` spread by the weights."""

    node: Conv

    def sums(self, exponents):
        """Return that of gradients by weights."""
        return exponents[self.dy] + exponents[self.node.weights]

    def terms(self, batch, shapes):
        """Return those of a window and the result's channels."""
        return math.prod(self.node.kernel) * shapes[self.node.output][2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvWeights(Backward):
    """Gradient by a convolution's weights, added to what earlier micro-batches left."""

    node: Conv

    def sums(self, exponents):
        """Return that of inputs by gradients."""
        return exponents[self.node.x] + exponents[self.dy]

    def terms(self, batch, shapes):
        """Return the pixels of the result, of all images."""
        return batch * math.prod(shapes[self.node.output][:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasGradient(Backward):
    """Gradient by a convolution's bias, added to what earlier micro-batches left."""

    node: Conv

    def sums(self, exponents):
        """Return that of the gradient."""
        return exponents[self.dy]

    def terms(self, batch, shapes):
        """Return the pixels of the result, of all images."""
        return batch * math.prod(shapes[self.node.output][:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxBackward(Backward):
    """Gradient by a maximum's input: ``dy`` at the tap that won."""

    node: MaxPool
    record: str

    @property
    def apart(self) -> str | None:
        """Map of what each window gives to its taps, side by side, if windows overlap."""
        overlap = any(s < k for s, k in zip(self.node.stride, self.node.kernel, strict=True))
        return f"{self.result}, window by window" if overlap else None

    def sums(self, exponents):
        """Return that of the gradient."""
        return exponents[self.dy]

    def terms(self, batch, shapes):
        """Return the windows a pixel is in."""
        return math.prod(self.node.kernel)


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageBackward(Backward):
    """Gradient by an average's input: ``dy`` at every tap, by the window's size."""

    node: AveragePool

    def sums(self, exponents):
        """Return steps that many times smaller."""
        return exponents[self.dy] - math.prod(self.node.kernel).bit_length()

    def terms(self, batch, shapes):
        """Return the windows a pixel is in."""
        return math.prod(self.node.kernel)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSum(Item):
    """Gradient by a tensor with several readers: the sum of theirs (or a masked copy of one)."""

    parts: tuple[str, ...]

    def sums(self, exponents):
        """Return that of the part with the smallest steps."""
        return common(exponents[part] for part in self.parts)

    def terms(self, batch, shapes):
        """Return one for each part."""
        return len(self.parts)
