"""Exact sums over windows, forward and backward, a whole batch at once.

The golden model multiplies integers as float64. That is exact: the plan's bound on terms keeps
every partial sum below 2**47, and float64 counts to 2**53.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from systolith.sw.train.graph import Windowed

__all__ = ["columns", "pad", "spread", "taps", "unpad"]


def pad(x: np.ndarray, pads: tuple[int, int, int, int], value: int = 0) -> np.ndarray:
    """Return [n, h, w, c] with an edge of ``value`` at the top, left, bottom, right."""
    if not any(pads):
        return x
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def unpad(x: np.ndarray, pads: tuple[int, int, int, int]) -> np.ndarray:
    """Return [n, h, w, c] without the edge."""
    top, left, bottom, right = pads
    return x[:, top:x.shape[1] - bottom, left:x.shape[2] - right]


def taps(x: np.ndarray, window: Windowed, results: tuple[int, int]) -> list[np.ndarray]:
    """Return a view [n, oh, ow, c] of a padded map for each position in the window."""
    (oh, ow), (sy, sx) = results, window.stride
    return [x[:, ky:ky + (oh - 1) * sy + 1:sy, kx:kx + (ow - 1) * sx + 1:sx]
            for ky, kx in np.ndindex(*window.kernel)]


def columns(x: np.ndarray, window: Windowed, dtype: type = np.float64) -> np.ndarray:
    """Return the windows of [n, h, w, c] as rows, dtype[n * oh * ow, kh * kw * c]."""
    padded = pad(x, window.pads).astype(dtype, copy=False)
    views = sliding_window_view(padded, window.kernel, axis=(1, 2))
    views = views[:, ::window.stride[0], ::window.stride[1]].transpose(0, 1, 2, 4, 5, 3)
    return views.reshape(-1, x.shape[3] * window.kernel[0] * window.kernel[1])


def spread(parts: np.ndarray, window: Windowed, size: tuple[int, int]) -> np.ndarray:
    """Add what every tap of every window gives to the pixel it lies on: ``columns`` transposed.

    Parameters
    ----------
    parts : array[n, oh, ow, kh * kw, c]
        For each window and tap.
    window : Windowed
        Kernel, stride and padding.
    size : tuple of int
        Height and width of the map, without padding.

    Returns
    -------
    array[n, h, w, c]
    """
    n, oh, ow, _, channels = parts.shape
    top, left, bottom, right = window.pads
    sums = np.zeros((n, top + size[0] + bottom, left + size[1] + right, channels), parts.dtype)
    for tap, view in enumerate(taps(sums, window, (oh, ow))):
        view += parts[..., tap, :]
    return unpad(sums, window.pads)
