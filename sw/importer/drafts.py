"""Operations whose rescaling is still open: the result's quantisation comes from a later node."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from systolith.sw.importer.node import Node
from systolith.sw.importer.values import Quantization
from systolith.sw.ir import Add, Concat, Conv, Op, Pool, Requant, Select, Tensor, TransposedConv
from systolith.sw.numerics import ADD_LEFT_SHIFT, average_multiplier, quantize_multiplier

__all__ = ["AddDraft", "Clamp", "ConcatDraft", "ConvDraft", "Draft", "PoolDraft", "SelectDraft",
           "TransposedDraft", "pass_through"]

_INT32 = 1 << 31


@dataclass(frozen=True, slots=True)
class Clamp:
    """A saturation of the result to low..high, in real numbers or in int8 levels."""

    low: float
    high: float
    real: bool

    def levels(self, output: Tensor) -> tuple[int, int]:
        """Return the bounds as int8 levels of the result."""
        if not self.real:
            return int(np.clip(self.low, -128, 127)), int(np.clip(self.high, -128, 127))
        grid = Quantization(output.scale, output.zero_point)
        return grid.levels(self.low), grid.levels(self.high)


@dataclass(kw_only=True, slots=True)
class Draft(ABC):
    """An operation whose tensors are known by name only."""

    node: Node
    #: Name and operator in the finished graph.
    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    clamps: list[Clamp] = field(default_factory=list)
    #: Nodes that became a part of this operation.
    absorbed: list[str] = field(default_factory=list)

    @abstractmethod
    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the operation, rescaling computed from the tensors' quantisation.

        Raises
        ------
        RefusedError
            If the rescaling is outside what 32-bit integers can do.
        """

    def common(self, output: Tensor) -> dict[str, Any]:
        """Return the fields that every operation has."""
        low, high = -128, 127
        for clamp in self.clamps:
            bounds = clamp.levels(output)
            low, high = (min(max(value, bounds[0]), bounds[1]) for value in (low, high))
        return {"name": self.name, "kind": self.kind, "inputs": self.inputs,
                "output": self.output, "low": low, "high": high}

    def requant(self, factors: np.ndarray, largest: np.ndarray, lift: bool = False) -> Requant:
        """Return the Requant of real factors, proved not to overflow.

        Parameters
        ----------
        factors : float64[o]
            Real rescaling factors.
        largest : int64[o]
            Largest magnitude of what each of them multiplies.
        lift : bool
            Shift left as far as 32 bits allow, so that of the two roundings only the last one
            shows: onnxruntime rounds once. TFLite's convolutions show both.
        """
        try:
            parts = np.array([quantize_multiplier(float(factor)) for factor in factors], np.int64)
        except ValueError as error:
            self.node.refuse(str(error), "its scales are not those of its data: quantise the "
                             "model again with representative calibration data")
        if ((largest << parts[:, 1]) >= _INT32).any():
            self.node.refuse("its accumulator may leave 32 bits", "its scales or biases are not "
                             "those of its data: quantise the model again")
        if lift:
            room = 31 - np.frexp(((largest << parts[:, 1]) + 1).astype(np.float64))[1]
            extra = np.minimum(np.minimum(room, 15 - parts[:, 1]), 31 - parts[:, 2])
            parts[:, 1:] += extra[:, None]
        return Requant(*parts.astype(np.int32).T)


@dataclass(kw_only=True, slots=True)
class ConvDraft(Draft):
    """A convolution; real result = ``scale * (bias + sum((x - z_x) * weights))``."""

    #: int8[o, kh, kw, i / groups]
    weights: np.ndarray
    #: int64[o]
    bias: np.ndarray
    #: float64[o]
    scale: np.ndarray
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    #: Round once; see :meth:`Draft.requant`.
    lift: bool = False

    def scale_channels(self, factor: np.ndarray, shift: np.ndarray) -> None:
        """Turn the real result y into ``factor * y + shift``, float64[o] each, exactly folded."""
        sign = np.where(factor < 0, -1, 1)
        zero = factor == 0
        shift = shift + np.where(zero, 0, factor * self.scale * self.bias)
        self.weights = np.where(zero, 0, sign)[:, None, None, None] * self.weights
        self.scale = np.where(zero, self.scale, np.abs(factor) * self.scale)
        self.bias = np.rint(shift / self.scale).astype(np.int64)

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the convolution; see :meth:`Draft.finish`."""
        return Conv(**self.weighted(tensors), stride=self.stride, pads=self.pads,
                    dilation=self.dilation, groups=self.groups)

    def weighted(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the fields that every operation with weights has."""
        output = tensors[self.output]
        zero_point = tensors[self.inputs[0]].zero_point
        weights = self.weights.astype(np.int64)
        if weights.max(initial=0) > 127 or weights.min(initial=0) < -128:
            self.node.refuse("a weight of -128 is negated by the BatchNormalization behind it",
                             "quantise the weights symmetrically to -127..127")
        positive = np.maximum(weights, 0).sum(axis=(1, 2, 3))
        negative = np.minimum(weights, 0).sum(axis=(1, 2, 3))
        least, most = -128 - zero_point, 127 - zero_point
        largest = np.maximum(np.abs(self.bias + most * positive + least * negative),
                             np.abs(self.bias + least * positive + most * negative))
        requant = self.requant(self.scale / output.scale, np.maximum(largest, abs(self.bias)),
                               self.lift)
        return self.common(output) | {"weights": self.weights.astype(np.int8),
                                      "bias": self.bias.astype(np.int32), "requant": requant}


@dataclass(kw_only=True, slots=True)
class TransposedDraft(ConvDraft):
    """A transposed convolution; its ``pads`` are not used."""

    crop: tuple[int, int]
    size: tuple[int, int]

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the convolution; see :meth:`Draft.finish`."""
        return TransposedConv(**self.weighted(tensors), stride=self.stride, crop=self.crop,
                              size=self.size, dilation=self.dilation, groups=self.groups)


@dataclass(kw_only=True, slots=True)
class SelectDraft(Draft):
    """Some rows, columns and channels of a map, on its scale."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    channels: tuple[int, ...]

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the selection."""
        return Select(**self.common(tensors[self.output]), rows=self.rows, columns=self.columns,
                      channels=self.channels)


@dataclass(kw_only=True, slots=True)
class ConcatDraft(Draft):
    """Maps side by side, each rescaled to the result's scale."""

    axis: int

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the concatenation; see :meth:`Draft.finish`."""
        output = tensors[self.output]
        parts = [tensors[name] for name in self.inputs]
        factors = np.array([part.scale / output.scale for part in parts])
        largest = np.array([max(127 - part.zero_point, 128 + part.zero_point) for part in parts])
        return Concat(**self.common(output), axis=self.axis,
                      requant=self.requant(factors, largest, lift=True))


@dataclass(kw_only=True, slots=True)
class PoolDraft(Draft):
    """A maximum or average over windows."""

    mode: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the pooling; an average that changes scale gets a rescaling for each count."""
        source, output = tensors[self.inputs[0]], tensors[self.output]
        count = math.prod(self.kernel)
        same = (source.scale, source.zero_point) == (output.scale, output.zero_point)
        requant = None
        if self.mode == "average" and not (same and _divides(count)):
            counts = np.arange(1, count + 1) if any(self.pads) else np.array([count])
            largest = max(127 - source.zero_point, 128 + source.zero_point) * counts
            requant = self.requant(source.scale / (output.scale * counts), largest, lift=True)
        return Pool(**self.common(output), mode=self.mode, kernel=self.kernel, stride=self.stride,
                    pads=self.pads, requant=requant)


def _divides(count: int) -> bool:
    """Tell whether TFLite's average of so many elements can be computed as it is."""
    try:
        average_multiplier(count)
    except ValueError:
        return False
    return True


@dataclass(kw_only=True, slots=True)
class AddDraft(Draft):
    """The sum of two feature maps."""

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the addition with TFLite's three rescalings."""
        output = tensors[self.output]
        a, b = (tensors[name] for name in self.inputs)
        twice = 2 * max(a.scale, b.scale)
        factors = np.array([a.scale / twice, b.scale / twice,
                            twice / (output.scale * (1 << ADD_LEFT_SHIFT))])
        if factors[2] >= 1:
            self.node.refuse("its result's scale is a millionth of its operands'",
                             "quantise the model again with representative calibration data")
        return Add(**self.common(output), requant=self.requant(factors, np.zeros(3, np.int64)))


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
