"""Feature maps in memory: where a pixel is, with the padding halo around the map."""

from dataclasses import dataclass, replace

from systolith.sw.ir import Tensor

__all__ = ["Halo", "Map"]


@dataclass(frozen=True, slots=True)
class Halo:
    """Pixels around a map that hold its zero point."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def union(self, other: "Halo") -> "Halo":
        """Return the halo that serves both."""
        return Halo(max(self.top, other.top), max(self.left, other.left),
                    max(self.bottom, other.bottom), max(self.right, other.right))

    def __bool__(self) -> bool:
        return bool(self.top or self.left or self.bottom or self.right)


@dataclass(frozen=True, slots=True)
class Map:
    """A tensor with its halo; ``address`` is that of the halo's first element.

    With ``interleave`` g the pixels of g rows, counted from the halo's first, that are one below
    the other lie side by side: channels of row 0, of row 1... So a run of consecutive elements
    covers g rows. Such a map is addressed by whole groups of rows.
    """

    tensor: Tensor
    halo: Halo
    #: Elements stored for each pixel, at least the tensor's channels; with ``interleave`` for all
    #: pixels that lie side by side.
    channels: int
    address: int = 0
    interleave: int = 1

    @property
    def width(self) -> int:
        """Pixels of a row, halo included."""
        return self.halo.left + self.tensor.shape[1] + self.halo.right

    @property
    def pitch(self) -> int:
        """Elements from a pixel to the one below, or to that in the next group of rows."""
        return self.width * self.channels

    @property
    def elements(self) -> int:
        """Elements of the map and its halo."""
        rows = self.halo.top + self.tensor.shape[0] + self.halo.bottom
        return -(-rows // self.interleave) * self.pitch

    def blocks(self, size: int) -> "Map":
        """Return the map as (h * w, channels / size, size): a row for each pixel.

        Its pixels must follow one another, and its channels be a multiple of ``size``.
        """
        h, w, c = self.tensor.shape
        tensor = replace(self.tensor, shape=(h * w, c // size, size))
        return Map(tensor, Halo(), size, self.at(0, 0))

    def part(self, row: int, column: int, channel: int) -> "Map":
        """Return the map as seen from another first element; whole groups of rows further down."""
        return replace(self, address=self.address + self.stride(row, column, channel))

    def at(self, y: int, x: int, channel: int = 0) -> int:
        """Return the address of a pixel's channel; the halo has negative or large y and x."""
        group, row = divmod(y + self.halo.top, self.interleave)
        return (self.address + group * self.pitch + (x + self.halo.left) * self.channels
                + row * self.tensor.shape[2] + channel)

    def lead(self, y: int) -> int:
        """Return how many rows of a row's group come before it."""
        return (y + self.halo.top) % self.interleave

    def stride(self, dy: int, dx: int, elements: int = 0) -> int:
        """Return the distance in elements of a step by dy rows, dx pixels and some elements.

        The rows must be whole groups.
        """
        return dy // self.interleave * self.pitch + dx * self.channels + elements
