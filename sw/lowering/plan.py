"""What one trip of pixels through the array does: reduction, tiles and channel parameters."""

import math
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Requant
from systolith.sw.numerics import requantize

__all__ = ["Axis", "Parameters", "Plan", "Reduction"]

#: The lane of shallow pipelines shifts right by so much at most, or by the left shift more.
_MOST_RIGHT = 16


@dataclass(frozen=True, slots=True)
class Reduction:
    """A loop of the reduction: ``count`` steps of dy rows, dx pixels and some elements."""

    count: int
    dy: int = 0
    dx: int = 0
    elements: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """``count`` windows along one axis.

    Window i covers ``span`` positions from ``start + i * stride`` on; negative and large ones lie
    in the halo.
    """

    count: int
    start: int
    stride: int
    span: int

    def part(self, begin: int, end: int) -> "Axis":
        """Return windows ``begin`` to ``end``."""
        return replace(self, count=end - begin, start=self.start + begin * self.stride)

    @property
    def end(self) -> int:
        """Position behind the last one covered."""
        return self.start + (self.count - 1) * self.stride + self.span


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """Bias, multiplier and shifts of output channels, int64[n] each."""

    bias: np.ndarray
    multiplier: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, bias: np.ndarray, requant: Requant) -> "Parameters":
        """Broadcast a rescaling over the channels of ``bias``."""
        def full(values):
            return np.broadcast_to(np.asarray(values, np.int64), len(bias))
        return cls(np.asarray(bias, np.int64), full(requant.multiplier), full(requant.left),
                   full(requant.right))

    @classmethod
    def identity(cls, channels: int, bias: int = 0) -> "Parameters":
        """Return parameters that pass ``acc + bias`` on unchanged."""
        ones = np.ones(channels, np.int64)
        return cls(bias * ones, (1 << 30) * ones, ones, 0 * ones)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """One rectangle of results, ``channels`` output channels from ``channel`` on.

    ``tiles`` is int64[groups or 1, passes, rows, columns] in the order the reductions' loops
    visit them; a reduction lists its loops innermost first. Row i of the sums takes reduction
    ``(phase + i) % len(reductions)``: rows that meet the source's groups of rows in different
    places have tiles of their own.
    """

    #: Windows along height and width; each gives one sum in the accumulators.
    y: Axis
    x: Axis
    #: Place of the first result in the output map, and rows and columns from one to the next.
    origin: tuple[int, int] = (0, 0)
    step: tuple[int, int] = (1, 1)
    #: Which of the operation's inputs is read.
    source: int = 0
    #: Channel offset of the vectors, and what it grows by from group to group.
    base: int = 0
    group_stride: int = 0
    groups: int
    reductions: tuple[tuple[Reduction, ...], ...] = ((),)
    phase: int = 0
    tiles: np.ndarray
    parameters: Parameters
    #: First output channel, and output channels of this plan.
    channel: int = 0
    channels: int
    #: The sums are of elements as they are: results need no zero point.
    raw: bool = False
    #: Kernel rows and columns of the window unit, or None.
    window: tuple[int, int] | None = None
    #: Source and result are seen in blocks of so many channels (:meth:`Map.blocks`), or None.
    blocks: int | None = None
    #: Kernel and stride of a maximum over the sums' results, or None.
    pool: tuple[tuple[int, int], tuple[int, int]] | None = None
    #: Why the window unit is not used where it could have been, or None.
    obstacle: str | None = None

    @property
    def pool_kernel(self) -> tuple[int, int]:
        """Kernel of the maximum, (1, 1) without."""
        return self.pool[0] if self.pool else (1, 1)

    @property
    def pool_stride(self) -> tuple[int, int]:
        """Stride of the maximum, (1, 1) without."""
        return self.pool[1] if self.pool else (1, 1)

    @property
    def results(self) -> tuple[int, int]:
        """Rows and columns of results written."""
        return tuple((axis.count - kernel) // stride + 1 for axis, kernel, stride in
                     zip((self.y, self.x), self.pool_kernel, self.pool_stride, strict=True))

    def part(self, rows: tuple[int, int], columns: tuple[int, int]) -> "Plan":
        """Return the plan of a rectangle of the results."""
        axes = [axis.part(begin * stride, (end - 1) * stride + kernel)
                for axis, (begin, end), kernel, stride in
                zip((self.y, self.x), (rows, columns), self.pool_kernel, self.pool_stride,
                    strict=True)]
        origin = (self.origin[0] + rows[0] * self.step[0],
                  self.origin[1] + columns[0] * self.step[1])
        phase = (self.phase + rows[0] * self.pool_stride[0]) % self.period
        return replace(self, y=axes[0], x=axes[1], origin=origin, phase=phase)

    @property
    def period(self) -> int:
        """Rows of sums from one to the next that takes the same reduction."""
        return len(self.reductions)

    def rows_of(self, index: int) -> tuple[int, int]:
        """Return the first row of the sums that takes a reduction, and how many take it."""
        first = (index - self.phase) % self.period
        return first, max(0, -(-(self.y.count - first) // self.period))

    @property
    def passes(self) -> int:
        """Tiles of one group, those of all reductions."""
        return self.tiles.shape[1]

    @property
    def passes_of(self) -> list[tuple[int, int]]:
        """First pass, and last + 1, of every reduction."""
        ends = accumulate((math.prod(loop.count for loop in loops) for loops in self.reductions),
                          initial=0)
        return list(pairwise(ends))

    @property
    def vectors(self) -> int:
        """Vectors that one group streams, without the window unit."""
        return self.x.count * sum(
            self.rows_of(i)[1] * (end - begin) for i, (begin, end) in enumerate(self.passes_of))

    def valid(self, config: Config) -> int:
        """Return the columns of the last group that carry a channel."""
        return self.channels - (self.groups - 1) * config.columns

    def checked(self, config: Config, name: str) -> "Plan":
        """Return the plan if no sum can leave its accumulator or the requantiser.

        Channels that the requantiser does not take, but whose results are all the same, get weights
        of 0.

        Raises
        ------
        CapacityError
            If one could.
        """
        reach = np.max([self._reach(self.tiles[:, begin:end], config, name)
                        for begin, end in self.passes_of], axis=0)
        return self._rescalable(reach, name) if config.shallow else self

    def _reach(self, tiles: np.ndarray, config: Config, name: str) -> np.ndarray:
        """Return how large the sums that some tiles make can be, with their bias."""
        weights = np.broadcast_to(tiles, (self.groups, *tiles.shape[1:]))
        weights = weights.transpose(0, 3, 1, 2).reshape(self.groups * config.columns, -1)
        weights = weights[:self.channels]
        top = 1 << config.operand_bits - 1
        high = np.maximum(weights * (top - 1), weights * -top).sum(1)
        low = np.minimum(weights * (top - 1), weights * -top).sum(1)
        limit = 1 << config.accumulator_bits - 1
        if high.max(initial=0) >= limit or low.min(initial=0) < -limit:
            raise CapacityError(
                f"a sum of its {weights.shape[1]} products can reach "
                f"{max(high.max(), -low.min())}, beyond accumulators of "
                f"{config.accumulator_bits} bits",
                "split the layer or use wider accumulators", name)
        p = self.parameters
        reach = np.maximum(high + p.bias, -(low + p.bias))
        for size, bits in (reach, config.sum_bits), (reach << p.left, 32):
            if size.max(initial=0) >= 1 << bits - 1:
                worst = int(size.argmax())
                raise CapacityError(
                    f"output channel {self.channel + worst} can reach {size[worst]} before "
                    f"rescaling, beyond {bits} bits",
                    "its scales differ too much: quantise the model again with representative "
                    "calibration data", name)
        return reach

    def _rescalable(self, reach: np.ndarray, name: str) -> "Plan":
        """Return the plan with factors and shifts that the lane of shallow pipelines takes."""
        p = self.parameters
        odd = (p.multiplier == 0) | (p.right - p.left > _MOST_RIGHT)
        if not odd.any():
            return self
        lost = requantize(reach, p.multiplier, p.left, p.right) == 0
        if (odd & ~lost).any():
            raise CapacityError(
                f"output channel {self.channel + int((odd & ~lost).argmax())} is rescaled by less "
                f"than a 2**{_MOST_RIGHT + 1}-th, which this target's requantiser does not do",
                "use a target with pipelining = 'deep'", name)
        columns = self.tiles.shape[3]
        zero = np.zeros(self.groups * columns, bool)
        zero[:self.channels] = odd
        tiles = np.where(zero.reshape(self.groups, 1, 1, columns), 0, self.tiles)
        return replace(self, tiles=tiles, parameters=Parameters(
            *(np.where(odd, new, old) for new, old in (
                (0, p.bias), (1 << 30, p.multiplier), (0, p.left), (0, p.right)))))
