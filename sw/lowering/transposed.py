"""Transposed convolution: for each phase of the results an ordinary one with some of the taps.

Results whose positions agree modulo the stride are made by the same taps from consecutive input
pixels, so each phase is a convolution of stride 1, its results written at a stride.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from systolith.hw.config import Config
from systolith.sw.ir import Conv, TransposedConv
from systolith.sw.lowering.channelwise import lower_depthwise
from systolith.sw.lowering.dense import lower_dense
from systolith.sw.lowering.plan import Axis, Plan
from systolith.sw.maps import Halo, Map

__all__ = ["lower_transposed", "transposed_halo"]


@dataclass(frozen=True, slots=True)
class _Phase:
    """Results ``first``, ``first + stride``... along one axis."""

    first: int
    count: int
    #: The kernel's taps in the order of the pixels they meet; none: the result is the bias.
    taps: tuple[int, ...]
    #: Pixel of the first tap of the first result, and pixels from tap to tap.
    start: int
    dilation: int

    @property
    def axis(self) -> Axis:
        """The windows of the results; without taps any pixels will do."""
        return Axis(self.count, self.start, 1, self.dilation * max(0, len(self.taps) - 1) + 1)


def lower_transposed(conv: TransposedConv, source: Map, config: Config) -> list[Plan]:
    """Return the plans of all phases."""
    plans = []
    for y in _phases(conv, 0):
        for x in _phases(conv, 1):
            weights = conv.weights[:, y.taps or (0,)][:, :, x.taps or (0,)]
            if not (y.taps and x.taps):
                weights = np.zeros_like(weights)
            phase = Conv(name=conv.name, kind=conv.kind, inputs=conv.inputs, output=conv.output,
                         weights=weights, bias=conv.bias, requant=conv.requant,
                         dilation=(y.dilation, x.dilation), groups=conv.groups)
            depthwise = 1 < conv.groups == source.tensor.shape[2] == len(weights)
            lower = lower_depthwise if depthwise else lower_dense
            plans += [replace(plan, y=y.axis, x=x.axis, origin=(y.first, x.first),
                              step=conv.stride)
                      for plan in lower(phase, source, (y.count, x.count), config)]
    return plans


def transposed_halo(conv: TransposedConv, size: tuple[int, int]) -> Halo:
    """Return the halo the phases read around an input of height and width ``size``."""
    axes = [[phase.axis for phase in _phases(conv, axis)] for axis in (0, 1)]
    before = [max(0, *(-axis.start for axis in of)) for of in axes]
    after = [max(0, *(axis.end - length for axis in of))
             for of, length in zip(axes, size, strict=True)]
    return Halo(*before, *after)


def _phases(conv: TransposedConv, axis: int) -> list[_Phase]:
    """Return the phases that have results along an axis."""
    stride, dilation, crop = (values[axis] for values in (conv.stride, conv.dilation, conv.crop))
    size, kernel = conv.size[axis], conv.weights.shape[1 + axis]
    apart = dilation // math.gcd(dilation, stride)
    phases = []
    for first in range(min(stride, size)):
        # result r gets pixel (r + crop - tap * dilation) / stride, where that is whole
        taps = [tap for tap in reversed(range(kernel))
                if (first + crop - tap * dilation) % stride == 0]
        start = (first + crop - taps[0] * dilation) // stride if taps else 0
        phases.append(_Phase(first, -(-(size - first) // stride), tuple(taps), start, apart))
    return phases
