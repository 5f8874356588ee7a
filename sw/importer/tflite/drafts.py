"""Operations that TFLite rescales in its own way, as drafts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from systolith.sw.importer.drafts import ConvDraft, Draft
from systolith.sw.ir import Op, Pool, Requant, Tensor

__all__ = ["MeanDraft", "pass_through"]


@dataclass(kw_only=True, slots=True)
class MeanDraft(Draft):
    """The mean over a window: the count divides the multiplier, not the sum.

    Source: ``QuantizedMeanOrSum`` in
    ``tensorflow/lite/kernels/internal/reference/reduce.h``.
    """

    kernel: tuple[int, int]

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the pooling; see :meth:`Draft.finish`."""
        source, output = tensors[self.inputs[0]], tensors[self.output]
        count = math.prod(self.kernel)
        largest = np.array([max(127 - source.zero_point, 128 + source.zero_point) * count])
        whole = self.requant(np.array([source.scale / output.scale]), largest)
        exponent = int(whole.left[0]) - int(whole.right[0])
        shift = min(count.bit_length() - 1, 32, 31 + exponent)
        exponent -= shift
        multiplier = (int(whole.multiplier[0]) << shift) // count
        parts = (np.array([n], np.int32)
                 for n in (multiplier, max(exponent, 0), max(-exponent, 0)))
        return Pool(**self.common(output), mode="average", kernel=self.kernel,
                    requant=Requant(*parts))


def pass_through(channels: int, scale: float, sign: int = 1) -> dict[str, object]:
    """Return the fields of a :class:`ConvDraft` whose accumulators are its input, ``q - z``.

    Parameters
    ----------
    channels : int
        Channels of input and result.
    scale : float
        Scale of the input.
    sign : int
        -1 for accumulators ``z - q``.
    """
    return {"weights": np.full((channels, 1, 1, 1), sign, np.int8), "groups": channels,
            "bias": np.zeros(channels, np.int64), "scale": np.full(channels, scale)}
