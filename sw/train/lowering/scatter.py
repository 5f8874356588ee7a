"""Sums of what windows give to the pixels under them: accumulators that vectors add to at taps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from systolith.sw.errors import CapacityError
from systolith.sw.nests import Loop
from systolith.sw.train.lowering.job import Job
from systolith.sw.train.lowering.memory import Map
from systolith.sw.train.lowering.nests import ResultNest, Stream, Tiles
from systolith.sw.train.steps import Backward

__all__ = ["Spread", "scatter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """``dx[p * stride + t - pads] = sum dy[p] * tile[t]``, or of ``dy[p * kernel + t]``."""

    dx: Map
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    #: Begins with the first image.
    dy: Map
    #: Rows and columns of windows.
    windows: tuple[int, int]
    #: What ``dy`` is the map of.
    source: str
    #: Vectors that hold the channels of ``dy`` for one tap, and elements of the last of them.
    chunks: int
    tail: int
    #: The tiles of all taps for the channels of ``dx`` from one on.
    tiles: Callable[[int], Tiles]
    #: ``dy`` is read from the channel of ``dx`` on.
    channelwise: bool = False
    #: ``dy`` has an element for each tap of each window.
    apart: bool = False

    @property
    def width(self) -> int:
        """Columns that windows cover."""
        return (self.windows[1] - 1) * self.stride[1] + self.kernel[1]

    @property
    def height(self) -> int:
        """Rows that windows cover."""
        return (self.windows[0] - 1) * self.stride[0] + self.kernel[0]


@dataclass(frozen=True, slots=True)
class _Block:
    """Windows whose sums share a store, and the rows of ``dx`` (not padded) they complete."""

    image: int
    images: int
    #: First row of windows, and how many.
    window: int
    windows: int
    #: Rows of sums.
    height: int
    row: int
    rows: int


def scatter(job: Job, item: Backward, spread: Spread, *, right: int,
            part: range | None = None) -> None:
    """Write the gradient ``item.result`` from that of the windows, of some images or all."""
    c, dx, pads = job.config, spread.dx, spread.pads
    part = range(job.images) if part is None else part
    columns = min(dx.shape[1], spread.width - pads[1])
    if part.start == 0 and (columns < dx.shape[1] or spread.height - pads[0] < dx.shape[0]
                            or any(dx.halo)):
        job.fill(dx)
    single = spread.kernel == (1, 1) and spread.stride == (1, 1) and not any(pads)
    mask = None if item.mask is None else (
        job.memory.maps[item.mask].base - job.memory.maps[item.result].base)
    for first in range(0, dx.channels, c.columns):
        for block in _blocks(job, spread, len(part)):
            if not single:
                _clear(job, spread, block)
            job.add(spread.tiles(first))
            job.add(_vectors(job, spread, block, first, keep=not single), ResultNest(
                base=dx.at(part.start + block.image, block.row) + first, right=right, mask=mask,
                valid=min(c.columns, dx.channels - first),
                acc_base=((block.row + pads[0] - block.window * spread.stride[0]) * spread.width
                          + pads[1]),
                loops=[Loop(columns, dx.channels, 1), Loop(block.rows, dx.row, spread.width),
                       Loop(block.images, dx.image, block.height * spread.width)]),
                    reads=(spread.source,))


def _clear(job: Job, spread: Spread, block: _Block) -> None:
    """Begin sums at zero: vectors without elements, and any tile."""
    size = block.images * block.height * spread.width
    job.add(job.diagonal_tiles(), Stream(
        base=spread.dy.base, loops=[Loop(size, 0, 1)], pass_level=1, group_level=1, hold=True,
        tail=(1, 0)))


def _vectors(job: Job, spread: Spread, block: _Block, first: int, *, keep: bool) -> Stream:
    (kh, kw), (sy, sx), dy = spread.kernel, spread.stride, spread.dy
    # from one window to the next, and from one tap to the next
    (down, across), taps = ((kh, kw), 1) if spread.apart else ((1, 1), 0)
    begin = dy.at(block.image, block.window * down) + (first if spread.channelwise else 0)
    return Stream(
        base=begin, pass_level=3, group_level=6, keep=keep, tail=(3, spread.tail),
        loops=[Loop(spread.windows[1], across * dy.channels, sx),
               Loop(block.windows, down * dy.row, sy * spread.width),
               Loop(block.images, dy.image, block.height * spread.width),
               Loop(spread.chunks, job.config.rows), Loop(kw, taps * dy.channels, 1),
               Loop(kh, taps * dy.row, spread.width)])


def _blocks(job: Job, spread: Spread, count: int) -> Iterator[_Block]:
    """Cut images: as many as a store holds, or the rows of one."""
    depth, dx, top = job.config.accumulator_depth, spread.dx, spread.pads[0]
    (kh, _), (sy, _), (windows, _) = spread.kernel, spread.stride, spread.windows
    covered = min(dx.shape[0], spread.height - top)
    side = depth // (spread.height * spread.width)
    if side:
        for image in range(0, count, side):
            yield _Block(image, min(side, count - image), 0, windows, spread.height, 0,
                         covered)
        return

    def part(begin: int, end: int) -> tuple[int, int, int]:
        """Return first and last window, and rows of sums, for padded rows begin to end."""
        low, high = max(0, -(-(begin - kh + 1) // sy)), min(windows - 1, (end - 1) // sy)
        return low, high, max(high * sy + kh, end) - low * sy

    total = covered + top
    size = max((n for n in range(sy, total + sy, sy)
                if all(part(y, min(y + n, total))[2] * spread.width <= depth
                       for y in range(0, total, n))), default=0)
    if not size:
        raise CapacityError(f"windows of {kh} rows over {spread.width} columns are more than the "
                            f"{depth} sums of an accumulator store", "use a smaller map")
    for image in range(count):
        for begin in range(0, total, size):
            end = min(begin + size, total)
            row = max(begin, top)
            if row < end:
                low, high, height = part(begin, end)
                yield _Block(image, 1, low, high - low + 1, height, row - top, end - row)
