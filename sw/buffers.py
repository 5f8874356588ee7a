"""A program's inputs and outputs: the user's arrays and the elements in the device's memory."""

import math
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
    #: Elements stored for each pixel, or for ``interleave`` pixels of as many rows.
    channels: int
    #: Rows whose pixels lie side by side (:class:`systolith.sw.maps.Map`).
    interleave: int = 1
    #: Of every image of a job, where its map begins, relative to the first one's.
    offsets: tuple[int, ...] = (0,)

    def place(self, job: int, image: int) -> int:
        """Return the address of an image of a job, counted from 0 each."""
        return self.address + self.delta * (job % 2) + self.offsets[image]

    @property
    def stored(self) -> tuple[int, int, int]:
        """Groups of rows, width and elements of a pixel in each of them, halo included."""
        top, left, bottom, right = self.halo
        h, w, _ = self.tensor.shape
        return -(-(top + h + bottom) // self.interleave), left + w + right, self.channels

    @property
    def elements(self) -> int:
        """Elements of the map in memory."""
        return math.prod(self.stored)

    @property
    def span(self) -> slice:
        """Elements from the first pixel's to the last one's; all before and behind are halo."""
        top, left, _, _ = self.halo
        h, w, _ = self.tensor.shape
        _, width, channels = self.stored
        first, last = top // self.interleave, (top + h - 1) // self.interleave
        return slice((first * width + left) * channels, (last * width + left + w) * channels)

    def pack(self, array: np.ndarray) -> np.ndarray:
        """Turn one input in the model's own layout and type into int8[elements].

        Raises
        ------
        DataError
            If the array's shape or type is another one, or it holds NaN.
        """
        top, left, _, _ = self.halo
        h, w, c = self.tensor.shape
        groups, width, _ = self.stored
        rows = np.full((groups * self.interleave, width, c), self.tensor.zero_point, np.int8)
        rows[top:top + h, left:left + w] = ports.encode(
            self.port, self.tensor, np.asarray(array)[None])[0]
        stored = np.full(self.stored, self.tensor.zero_point, np.int8)
        stored[..., :self.interleave * c] = rows.reshape(
            groups, self.interleave, width, c).swapaxes(1, 2).reshape(groups, width, -1)
        return stored.reshape(-1)

    def unpack(self, elements: np.ndarray) -> np.ndarray:
        """Turn int8[elements] of memory into one output in the model's own layout and type."""
        top, left, _, _ = self.halo
        h, w, c = self.tensor.shape
        groups, width, _ = self.stored
        stored = np.asarray(elements).reshape(self.stored)[..., :self.interleave * c]
        rows = stored.reshape(groups, width, self.interleave, c).swapaxes(1, 2).reshape(
            -1, width, c)
        return ports.decode(self.port, self.tensor, rows[None, top:top + h, left:left + w])[0]
