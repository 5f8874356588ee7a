"""The network as training sees it: real tensors, the operations that have a gradient.

Feature maps are ``[h][w][c]`` without the batch, weights ``[o][kh][kw][i]``, as in
:mod:`systolith.sw.ir`; here they have exponents instead of scales and zero points, and these
change while training, so they are no part of the graph.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Add", "AveragePool", "Conv", "MaxPool", "Network", "Node", "Rectify", "Windowed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operation: reads tensors, writes one; all by name."""

    #: As the model file calls it, for messages.
    name: str
    inputs: tuple[str, ...]
    output: str
    #: Negative results become 0.
    rectify: bool = False

    @property
    def x(self) -> str:
        """Name of the first (often the only) input."""
        return self.inputs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowed(Node):
    """An operation on windows of its input."""

    #: Height and width.
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    #: Top, left, bottom, right.
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Windowed):
    """``y = bias + sum(x * w)`` over windows; padding is 0.

    Fully connected is a kernel as large as the map, 1-D a height of 1.
    """

    #: Names of the parameters; weights [o, kh, kw, i], bias [o].
    weights: str
    bias: str | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of what is trained."""
        return (self.weights,) if self.bias is None else (self.weights, self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Windowed):
    """The largest element of each window and channel; padding never wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Windowed):
    """The sum of each window and channel by the window's size; padding is 0 and counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Node):
    """The sum of two tensors of equal shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectify(Node):
    """A ReLU that no other operation could take up."""


@dataclass(slots=True, kw_only=True)
class Network:
    """Operations in order, shapes of the tensors between them, real parameters.

    ``nodes`` may hold operations without a gradient, of any :class:`Node` type; the chain rule
    refuses them by name when they are to be trained through.
    """

    name: str
    #: (h, w, c) of every tensor.
    shapes: dict[str, tuple[int, int, int]]
    nodes: list[Node]
    input: str
    #: What the loss reads, before any softmax.
    output: str
    #: float64 arrays by name.
    parameters: dict[str, np.ndarray] = field(default_factory=dict)

    def prefix(self, last: str) -> frozenset[str]:
        """Return the names of all operations up to and with ``last``: what freezing it freezes.

        Raises
        ------
        ValueError
            If there is no such operation.
        """
        names = [node.name for node in self.nodes]
        if last not in names:
            raise ValueError(f"{self.name}: there is no operation {last!r}: it has "
                             + ", ".join(names))
        return frozenset(names[:names.index(last) + 1])

    def consumers(self, tensor: str) -> list[Node]:
        """Return the operations that read a tensor, once for each time they do."""
        return [node for node in self.nodes for name in node.inputs if name == tensor]

    def producer(self, tensor: str) -> Node | None:
        """Return the operation that writes a tensor, or None for the input."""
        return next((node for node in self.nodes if node.output == tensor), None)
