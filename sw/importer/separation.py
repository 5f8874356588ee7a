"""Rearrangements of a feature map: which rows, columns and channels they pick, transpositions."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

__all__ = ["Separation", "separate", "transposition"]

#: Orders of the axes to try; the usual ones first: (c, h, w) and (h, w, c).
_ORDERS = sorted(permutations(range(3)), key=lambda p: (p != (1, 2, 0), p))


@dataclass(frozen=True, slots=True, eq=False)
class Separation:
    """A view of a map that picks rows, columns and channels independently of each other."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    channels: tuple[int, ...]
    #: int64 of the view's shape: its elements' places in the map it makes, (h, w, c) flat.
    elements: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the map it makes."""
        return len(self.rows), len(self.columns), len(self.channels)


def separate(places: np.ndarray, shape: tuple[int, int, int]) -> Separation | None:
    """Return the rows, columns and channels that a view picks, None if they hang together.

    Parameters
    ----------
    places : int64[...]
        The view: for each element its place in the map, (h, w, c) flat. Where axes repeat
        elements, the last one is taken for channels.
    shape : tuple of int
        The map's (h, w, c).
    """
    coordinates = np.unravel_index(places, shape)
    axes: dict[int, int] = {}                     # of the coordinates
    repeated = []
    for axis in (axis for axis, length in enumerate(places.shape) if length > 1):
        moving = [i for i, values in enumerate(coordinates)
                  if (values != values.take([0], axis)).any()]
        if len(moving) > 1 or (moving and moving[0] in axes):
            return None
        if moving:
            axes[moving[0]] = axis
        else:
            repeated.append(axis)
    for axis in repeated:                         # as (h, w, c), if that is free
        free = [i for i in (axis + 3 - places.ndim, 2, 1, 0) if i >= 0 and i not in axes]
        if not free:
            return None
        axes[free[0]] = axis
    picked, places_new = [], np.zeros(places.shape, np.int64)
    for i, values in enumerate(coordinates):
        axis = axes.get(i)
        along = values.flat[:1] if axis is None else np.moveaxis(values, axis, 0).reshape(
            values.shape[axis], -1)[:, 0]
        picked.append(tuple(int(n) for n in along))
        index = 0 if axis is None else np.arange(len(along)).reshape(
            [-1 if k == axis else 1 for k in range(places.ndim)])
        places_new = places_new * len(along) + index
    return Separation(*picked, places_new)


def transposition(shape: tuple[int, int, int], places: np.ndarray) -> tuple[int, ...] | None:
    """Return the axes of a model's array, seen with three, that give (h, w, c); None if none do.

    Parameters
    ----------
    shape : tuple of int
        The feature map's (h, w, c).
    places : int64[n]
        Where each element of the model's array lies in it.
    """
    flat = np.arange(np.prod(shape)).reshape(shape)
    return next((order for order in _ORDERS if np.array_equal(
        flat.transpose(np.argsort(order)).ravel(), places)), None)
