"""Dense and grouped convolution, and fully connected layers, as runs of consecutive elements."""

import math

import numpy as np

from systolith.hw.config import Config
from systolith.sw.ir import Conv
from systolith.sw.lowering.geometry import conv_axis
from systolith.sw.lowering.plan import Parameters, Plan, Reduction
from systolith.sw.maps import Map

__all__ = ["lower_dense"]


def lower_dense(conv: Conv, source: Map, results: tuple[int, int], config: Config) -> list[Plan]:
    """Return one plan for each group of channels.

    The reduction vector of a pixel is cut from the longest runs of consecutive elements its window
    covers: several kernel rows and what lies between them, or single pixels; each run into chunks
    of ``config.rows``. What lies between, and the excess of the last chunk, meet zero weights.

    Where the source's rows lie side by side in groups, results meet the groups in as many ways as
    it takes their windows to step from one group's beginning to another's; each way has tiles of
    its own, in which rows of a group that the window does not cover have zero weights.
    """
    return [_group(conv, source, results, config, group) for group in range(conv.groups)]


def _group(conv, source, results, config, group) -> Plan:
    outputs = len(conv.weights) // conv.groups
    inputs = conv.weights.shape[3]
    weights = conv.weights[group * outputs:(group + 1) * outputs].astype(np.int64)
    lead = group * inputs % config.alignment     # vectors start at aligned elements
    cut = [_tiles(*_runs(kernel, conv, source, config), lead, config)
           for kernel in _kernels(weights, conv, source)]
    zero = source.tensor.zero_point
    bias = conv.bias[group * outputs:(group + 1) * outputs] - zero * weights.sum((1, 2, 3))
    h, w = results
    top, left, _, _ = conv.pads
    channels = slice(group * outputs, (group + 1) * outputs)
    requant = type(conv.requant)(*(np.broadcast_to(v, len(conv.weights))[channels] for v in (
        conv.requant.multiplier, conv.requant.left, conv.requant.right)))
    return Plan(
        y=conv_axis(h, weights.shape[1], conv.stride[0], top, conv.dilation[0]),
        x=conv_axis(w, weights.shape[2], conv.stride[1], left, conv.dilation[1]),
        base=group * inputs - lead, groups=-(-outputs // config.columns),
        reductions=tuple(reduction for reduction, _ in cut),
        tiles=np.concatenate([tiles for _, tiles in cut], axis=1),
        parameters=Parameters.of(bias, requant), channel=group * outputs, channels=outputs)


def _kernels(weights, conv, source) -> list[np.ndarray]:
    """Return the kernel over groups of rows, int64[o, groups, kw, elements], for each phase."""
    rows = source.interleave
    if rows == 1:
        return [weights]
    o, kh, kw, inputs = weights.shape
    (down, _), (apart, _) = conv.stride, conv.dilation
    span = apart * (kh - 1) + 1
    kernels = []
    for phase in range(rows // math.gcd(rows, down)):
        lead = source.lead(phase * down - conv.pads[0])
        groups = -(-(lead + span) // rows)
        kernel = np.zeros((o, groups * rows, kw, inputs), np.int64)
        kernel[:, lead:lead + span:apart] = weights
        kernels.append(kernel.reshape(o, groups, rows, kw, inputs).swapaxes(2, 3).reshape(
            o, groups, kw, rows * inputs))
    return kernels


def _tiles(runs, loops, lead, config) -> tuple[tuple[Reduction, ...], np.ndarray]:
    """Cut runs, of which each begins after ``lead`` elements more, into tiles."""
    outputs, count, length = runs.shape
    chunks = -(-(lead + length) // config.rows)
    groups = -(-outputs // config.columns)
    padded = np.zeros((groups * config.columns, count, chunks * config.rows), np.int64)
    padded[:outputs, :, lead:lead + length] = runs
    tiles = padded.reshape(groups, config.columns, -1, config.rows).transpose(0, 2, 3, 1)
    return (Reduction(chunks, elements=config.rows), *loops), tiles


def _runs(weights, conv, source, config):
    """Return int64[o, runs, length] and the loops over the runs, innermost first."""
    o, kh, kw, inputs = weights.shape
    if conv.groups > 1 or conv.dilation[1] > 1:
        loops = (Reduction(kw, dx=conv.dilation[1]), Reduction(kh, dy=conv.dilation[0]))
        return weights.reshape(o, kh * kw, inputs), loops
    stored = np.zeros((o, kh, kw, source.channels), np.int64)
    stored[..., :inputs] = weights
    down = 1 if source.interleave > 1 else conv.dilation[0]
    apart, length = down * source.pitch, kw * source.channels
    together = _kernel_rows(kh, apart, length, config.rows)
    steps = -(-kh // together)
    runs = np.zeros((o, steps * together, max(apart, length)), np.int64)
    runs[:, :kh, :length] = stored.reshape(o, kh, -1)
    runs = runs.reshape(o, steps, -1)[..., :(together - 1) * apart + length]
    return runs, (Reduction(steps, dy=together * down * source.interleave),)


def _kernel_rows(kh: int, apart: int, length: int, rows: int) -> int:
    """Choose how many kernel rows a run covers: those that take the fewest tiles.

    Kernel rows have ``length`` elements each and lie ``apart`` elements from each other.
    """
    def tiles(together):
        return -(-kh // together) * -(-((together - 1) * apart + length) // rows)

    return min(range(1, kh + 1), key=tiles)
