"""Drafts of the operations that the host runs inside a network."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from systolith.sw.importer.drafts import Draft
from systolith.sw.ir import (
    Bilinear,
    Extreme,
    HostStep,
    Mul,
    Op,
    Real,
    Rearrange,
    Softmax,
    Table,
    Tensor,
)

__all__ = ["BilinearDraft", "ExtremeDraft", "MulDraft", "RealDraft", "RearrangeDraft",
           "SoftmaxDraft", "TableDraft"]

#: Largest distance between a level and a zero point.
_LEVELS = 255


@dataclass(kw_only=True, slots=True)
class TableDraft(Draft):
    """A function of one level."""

    #: int8[256]
    levels: np.ndarray

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the table."""
        return Table(**self.common(tensors[self.output]), levels=self.levels)


@dataclass(kw_only=True, slots=True)
class ExtremeDraft(Draft):
    """The larger or the smaller of two maps."""

    largest: bool

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the operation."""
        return Extreme(**self.common(tensors[self.output]), largest=self.largest)


@dataclass(kw_only=True, slots=True)
class BilinearDraft(Draft):
    """A bilinear resizing."""

    size: tuple[int, int]
    corners: bool
    half: bool
    exact: bool = False

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the operation."""
        return Bilinear(**self.common(tensors[self.output]), size=self.size, corners=self.corners,
                        half=self.half, exact=self.exact)


@dataclass(kw_only=True, slots=True)
class RealDraft(Draft):
    """A chain of float functions, some of them over more than one element."""

    shape: tuple[int, ...]
    permutation: tuple[int, ...]
    steps: tuple[HostStep, ...]
    offset: int

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the operation."""
        return Real(**self.common(tensors[self.output]), shape=self.shape, steps=self.steps,
                    permutation=self.permutation, offset=self.offset)


@dataclass(kw_only=True, slots=True)
class RearrangeDraft(Draft):
    """Any elements of a map in any order, on its scale."""

    #: int64[h, w, c]
    places: np.ndarray

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the rearrangement."""
        return Rearrange(**self.common(tensors[self.output]), places=self.places)


@dataclass(kw_only=True, slots=True)
class SoftmaxDraft(Draft):
    """A softmax over the channels."""

    beta: float

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the softmax."""
        return Softmax(**self.common(tensors[self.output]), beta=self.beta)


@dataclass(kw_only=True, slots=True)
class MulDraft(Draft):
    """A product of two maps."""

    #: Round once; see :meth:`Draft.requant`.
    lift: bool = False

    def finish(self, tensors: Mapping[str, Tensor]) -> Op:
        """Return the product; its factor is computed in float32, as TFLite does."""
        output = tensors[self.output]
        a, b = (np.float32(tensors[name].scale) for name in self.inputs)
        with np.errstate(over="ignore"):  # infinity is refused with the factor
            factor = np.array([float(a * b / np.float32(output.scale))])
        return Mul(**self.common(output), requant=self.requant(
            factor, np.array([_LEVELS ** 2]), self.lift))
