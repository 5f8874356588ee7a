"""One job of a training device: nests in order, tokens between them, what the host writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from systolith.hw import isa
from systolith.hw.config import Config
from systolith.hw.isa import Engine, LoadKind, Op, SetHeader, register_index
from systolith.sw.assembler import assemble
from systolith.sw.errors import CapacityError
from systolith.sw.nests import Loop, Nest, Token
from systolith.sw.train.lowering.memory import REPORT_ELEMENTS, Map, MemoryPlan
from systolith.sw.train.lowering.nests import ResultNest, Tiles

__all__ = ["Job", "Part", "Program", "blocks", "spans", "windows"]


#: A tensor, or a part of it: one that reports its range by its number, others by a name.
Part = str | tuple[str, int] | tuple[str, str]


@dataclass(slots=True)
class Program:
    """A job that is ready to run: words, factors to be written, results that are reported."""

    words: np.ndarray
    #: Elements by address.
    constants: dict[int, np.ndarray]
    #: Results whose range is written, and which part of them.
    reported: tuple[tuple[str, int], ...]

    def seeded(self, seed: int) -> np.ndarray:
        """Return the words with the seed of stochastic rounding."""
        words = self.words.copy()
        words[1] = seed
        return words


@dataclass(slots=True)
class Job:
    """Takes nests up in program order."""

    config: Config
    memory: MemoryPlan
    #: (h, w, c) of the network's tensors.
    shapes: Mapping[str, tuple[int, int, int]]
    exponents: Mapping[str, int]
    images: int
    nests: list[Nest] = field(default_factory=list)
    #: Factors, by their place in ``memory.diagonals``.
    factors: list[int] = field(default_factory=list)
    reported: list[tuple[str, int]] = field(default_factory=list)
    #: Results of POST so far, and how many there were when a tensor was complete.
    _results: int = 0
    _complete: dict[Part, int] = field(default_factory=dict)

    def add(self, *nests: Nest, reads: tuple[Part, ...] = ()) -> None:
        """Append nests; those of LOAD and STREAM wait until what they read is in memory."""
        needed = max((self._complete.get(name, 0) for name in reads), default=0)
        for nest in nests:
            if nest.engine is Engine.POST:
                self._results += 1
            elif needed:
                nest.token = Token(Engine.POST, needed)
            self.nests.append(nest)

    def mark(self, part: tuple[str, str]) -> None:
        """Say that all results of a part of a tensor have been given."""
        self._complete[part] = self._results

    def known(self, part: tuple[str, str]) -> Part:
        """Return a part of a tensor if it was marked, else the tensor."""
        return part if part in self._complete else part[0]

    def complete(self, name: str, *, report: bool = True, part: int = 0) -> None:
        """Say that all results of a tensor have been given; the last one reports their range.

        Of a tensor in parts each reports its own, and the last one completes the tensor.
        """
        self._complete[name] = self._complete[name, part] = self._results
        if report:
            last = next(nest for nest in reversed(self.nests) if nest.engine is Engine.POST)
            assert isinstance(last, ResultNest)
            last.report = self.memory.reports[name] + part * REPORT_ELEMENTS
            self.reported.append((name, part))

    def diagonal(self, factor: int = 1) -> int:
        """Return the address of the pattern that is a factor between zeros: at its factor.

        Raises
        ------
        CapacityError
            If a job has more factors than there are places.
        """
        if factor not in self.factors:
            if len(self.factors) == len(self.memory.diagonals):
                raise CapacityError(f"a training step has more than {len(self.memory.diagonals)} "
                                    "different factors", "use a smaller network")
            self.factors.append(factor)
        return self.memory.diagonals[self.factors.index(factor)] + self.config.rows - 1

    def diagonal_tiles(self, factor: int = 1, count: int = 1) -> Tiles:
        """Return tiles with a factor on the diagonal."""
        return Tiles(base=self.diagonal(factor), kind=LoadKind.TILE,
                     loops=[Loop(self.config.rows, -1), Loop(count)])

    def fill(self, target: Map) -> None:
        """Write zeros over a map and its halo."""
        self.fill_span(target.base, self.images * target.image)

    def fill_span(self, base: int, size: int) -> None:
        """Write zeros from an address on."""
        width = self.config.columns
        for start, lanes, count in spans(size, width):
            self.add(ResultNest(base=base + start, loops=[Loop(count, lanes)], valid=lanes,
                                fill=True))

    @property
    def whole(self) -> tuple[int, int]:
        """Return the tail of vectors that count as a whole."""
        return 0, self.config.rows

    def program(self) -> Program:
        """Return the job, assembled."""
        rows, columns = self.config.rows, self.config.columns
        constants = {}
        for factor, base in zip(self.factors, self.memory.diagonals, strict=False):
            pattern = np.zeros(rows + columns - 1, np.int16)
            pattern[rows - 1] = factor
            constants[base] = pattern
        seed = isa.encode(SetHeader, op=Op.SET, engine=Engine.POST, count=1,
                          first=register_index(Engine.POST, "SEED"))
        words = np.concatenate((np.array([seed, 0], np.uint32), assemble(self.nests, self.config)))
        return Program(words, constants, tuple(self.reported))


def spans(size: int, width: int) -> list[tuple[int, int, int]]:
    """Cut a line of elements: (start, width, count) of whole vectors, and of what is left."""
    (whole, rest), found = divmod(size, width), []
    for start in range(0, whole, 1 << 16):
        found.append((start * width, width, min(1 << 16, whole - start)))
    if rest:
        found.append((whole * width, rest, 1))
    return found


def blocks(images: int, height: int, width: int, most: int) -> list[tuple[int, int, int, int]]:
    """Cut images into parts of at most ``most`` pixels: (image, images, row, rows) of each.

    Raises
    ------
    CapacityError
        If not even a row fits.
    """
    if width > most:
        raise CapacityError(f"a row of {width} pixels is more than the {most} sums of an "
                            "accumulator store", "use a smaller map")
    if height * width <= most:
        side = most // (height * width)
        return [(i, min(side, images - i), 0, height) for i in range(0, images, side)]
    count = -(-height // (most // width))
    rows = -(-height // count)
    return [(i, 1, y, min(rows, height - y))
            for i in range(images) for y in range(0, height, rows)]


def windows(images: int, height: int, width: int, most: int, *, kernel: int,
            stride: int) -> list[tuple[int, int, int, int]]:
    """Cut images into rows of windows whose pixels are at most ``most``, as :func:`blocks` does.

    Parameters
    ----------
    images, height : int
        Images, and rows of windows in each.
    width : int
        Pixels of a row.
    most : int
        Pixels of a part.
    kernel, stride : int
        Rows of a window, and from one to the next.

    Raises
    ------
    CapacityError
        If not even a row of windows fits.
    """
    below = (height - 1) * stride + kernel
    if below * width <= most:
        return [(image, count, 0, height)
                for image, count, *_ in blocks(images, below, width, most)]
    rows = (most // width - kernel) // stride + 1
    if rows < 1:
        raise CapacityError(f"windows of {kernel} rows of {width} pixels are more than the {most} "
                            "sums of an accumulator store", "use a smaller map")
    rows = -(-height // -(-height // rows))
    return [(image, 1, row, min(rows, height - row)) for image in range(images)
            for row in range(0, height, rows)]
