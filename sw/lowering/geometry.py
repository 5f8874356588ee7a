"""Results along an axis, sorted by how much of the map their window covers."""

from systolith.sw.lowering.plan import Axis

__all__ = ["clipped_axis", "conv_axis"]


def conv_axis(results: int, kernel: int, stride: int, before: int, dilation: int = 1) -> Axis:
    """Return all results of a convolution; their windows may reach into the halo."""
    return Axis(results, -before, stride, dilation * (kernel - 1) + 1)


def clipped_axis(results: int, size: int, kernel: int, stride: int,
                 before: int) -> list[tuple[int, Axis]]:
    """Split the results of pooling so that no window reaches over the map's edge.

    Returns (first result, axis) pairs: results with whole windows share one axis; each of those
    at the edges has its own, with the part of its window that lies on the map.
    """
    axes: list[tuple[int, Axis]] = []
    for i in range(results):
        start, end = i * stride - before, i * stride - before + kernel
        low, high = max(start, 0), min(end, size)
        first, last = axes[-1] if axes else (0, None)
        if last and (low, high) == (start, end) and last.span == kernel == high - low \
                and last.start + last.count * stride == low:
            axes[-1] = first, Axis(last.count + 1, last.start, stride, kernel)
        else:
            axes.append((i, Axis(1, low, stride, high - low)))
    return axes
