"""A program's inputs and outputs: the user's arrays and the elements in the device's memory."""

from dataclasses import dataclass

import numpy as np

from systolith.sw import ports
from systolith.sw.ir import Port, Tensor

__all__ = ["Buffer", "Terminal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A port of the model and the feature map behind it."""

    port: Port
    tensor: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer(Terminal):
    """A port of the model and the feature map in the device's memory behind it."""

    #: Element address of the halo's first element, and of the second buffer relative to it.
    address: int
    delta: int
    #: Top, left, bottom, right.
    halo: tuple[int, int, int, int]
    #: Elements stored for each pixel, at least the tensor's channels.
    channels: int

    @property
    def padded(self) -> tuple[int, int, int]:
        """Height, width and stored channels, halo included."""
        top, left, bottom, right = self.halo
        h, w, _ = self.tensor.shape
        return top + h + bottom, left + w + right, self.channels

    @property
    def elements(self) -> int:
        """Elements of the map in memory."""
        h, w, c = self.padded
        return h * w * c

    def _inner(self, padded: np.ndarray) -> np.ndarray:
        top, left, _, _ = self.halo
        h, w, c = self.tensor.shape
        return padded[..., top:top + h, left:left + w, :c]

    def pack(self, array: np.ndarray) -> np.ndarray:
        """Turn one input in the model's own layout and type into int8[elements].

        Raises
        ------
        DataError
            If the array's shape or type is another one, or it holds NaN.
        """
        padded = np.full(self.padded, self.tensor.zero_point, np.int8)
        self._inner(padded)[:] = ports.encode(self.port, self.tensor, np.asarray(array)[None])[0]
        return padded.reshape(-1)

    def unpack(self, elements: np.ndarray) -> np.ndarray:
        """Turn int8[elements] of memory into one output in the model's own layout and type."""
        maps = self._inner(np.asarray(elements).reshape(1, *self.padded))
        return ports.decode(self.port, self.tensor, maps)[0]
