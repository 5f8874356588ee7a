"""Networks written down layer by layer, with random weights to begin with."""

import math
from collections.abc import Iterable

import numpy as np

from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network, Node, Rectify

__all__ = ["NetworkBuilder", "randomise"]


def randomise(network: Network, seed: int, names: Iterable[str] | None = None) -> None:
    """Give a network new weights: normal, of variance 2 / inputs, and biases of 0.

    Parameters
    ----------
    network : Network
        The network.
    seed : int
        Of the random numbers.
    names : iterable of str, optional
        Parameters to be replaced; all if left out.

    References
    ----------
    He et al. 2015, "Delving Deep into Rectifiers".
    """
    random = np.random.default_rng(seed)
    for name in network.parameters if names is None else names:
        values = network.parameters[name]
        deviation = math.sqrt(2 / math.prod(values.shape[1:])) if values.ndim > 1 else 0.0
        network.parameters[name] = deviation * random.standard_normal(values.shape)


class NetworkBuilder:
    """Adds layers, each reading the one before; methods return the name of the layer's result.

    Attributes
    ----------
    network : Network
        What has been built; its parameters are 0 until :func:`randomise`.

    Parameters
    ----------
    name : str
        The network's name.
    shape : tuple of int
        (h, w, c) of its input.
    """

    def __init__(self, name: str, shape: tuple[int, int, int]):
        self.network = Network(name=name, shapes={"x": shape}, nodes=[], input="x", output="x")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the last layer's result."""
        return self.network.shapes[self.network.output]

    def conv(self, channels: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
             pads: tuple[int, int, int, int] = (0, 0, 0, 0), rectify: bool = False,
             bias: bool = True) -> str:
        """Add a convolution."""
        name = f"conv{len(self.network.nodes)}"
        parameters = {f"{name}.weights": np.zeros((channels, *kernel, self.shape[2]))}
        if bias:
            parameters[f"{name}.bias"] = np.zeros(channels)
        self.network.parameters |= parameters
        return self._layer(Conv, name, (*self._results(kernel, stride, pads), channels),
                           kernel=kernel, stride=stride, pads=pads, rectify=rectify,
                           weights=f"{name}.weights", bias=f"{name}.bias" if bias else None)

    def dense(self, outputs: int, *, rectify: bool = False, bias: bool = True) -> str:
        """Add a fully connected layer."""
        return self.conv(outputs, self.shape[:2], rectify=rectify, bias=bias)

    def max_pool(self, kernel: tuple[int, int] = (2, 2), stride: tuple[int, int] | None = None,
                 pads: tuple[int, int, int, int] = (0, 0, 0, 0)) -> str:
        """Add a maximum; the stride is the kernel where none is given."""
        return self._pool(MaxPool, kernel, stride or kernel, pads)

    def average_pool(self, kernel: tuple[int, int] = (2, 2), stride: tuple[int, int] | None = None,
                     pads: tuple[int, int, int, int] = (0, 0, 0, 0)) -> str:
        """Add an average; the stride is the kernel where none is given."""
        return self._pool(AveragePool, kernel, stride or kernel, pads)

    def add(self, other: str, *, rectify: bool = False) -> str:
        """Add an earlier result to the last one."""
        name = f"add{len(self.network.nodes)}"
        return self._layer(Add, name, self.shape, other, self.network.output, rectify=rectify)

    def rectify(self) -> str:
        """Add a ReLU."""
        return self._layer(Rectify, f"relu{len(self.network.nodes)}", self.shape)

    def _pool(self, kind, kernel, stride, pads) -> str:
        shape = (*self._results(kernel, stride, pads), self.shape[2])
        return self._layer(kind, f"{kind.__name__.lower()}{len(self.network.nodes)}", shape,
                           kernel=kernel, stride=stride, pads=pads)

    def _results(self, kernel, stride, pads) -> tuple[int, int]:
        h, w = ((length + before + after - k) // s + 1 for length, before, after, k, s in zip(
            self.shape, pads[:2], pads[2:], kernel, stride, strict=False))
        if h < 1 or w < 1:
            raise ValueError(f"{self.network.name}: a window of {kernel[0]} x {kernel[1]} does not "
                             f"fit {self.shape[0]} x {self.shape[1]} pixels")
        return h, w

    def _layer(self, kind: type[Node], name: str, shape: tuple[int, int, int], *inputs: str,
               **fields) -> str:
        output = f"{name}.y"
        self.network.nodes.append(kind(name=name, inputs=inputs or (self.network.output,),
                                       output=output, **fields))
        self.network.shapes[output] = shape
        self.network.output = output
        return output
