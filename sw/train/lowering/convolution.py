"""Convolutions as nests of a training device: forward, gradients of data, weights and biases."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from systolith.hw.isa import LoadKind
from systolith.sw.nests import Loop
from systolith.sw.train.graph import Conv
from systolith.sw.train.lowering.job import Job, Part, blocks, spans, windows
from systolith.sw.train.lowering.memory import Map
from systolith.sw.train.lowering.nests import Outer, ResultNest, Stream, Tiles
from systolith.sw.train.lowering.scatter import Spread, scatter
from systolith.sw.train.steps import BiasGradient, ConvData, ConvWeights, Forward, gradient_of

__all__ = ["bias_gradient", "conv_data", "conv_weights", "convolution", "weight_sums"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A convolution on its maps; a dense layer is one of a single pixel with all channels."""

    x: Map
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    #: Rows and columns, and channels of the result.
    result: tuple[int, int, int]

    @classmethod
    def of(cls, node: Conv, x: Map, result: tuple[int, int, int]) -> "_Shape":
        if node.kernel == x.shape[:2] and result[:2] == (1, 1) and not any(x.halo):
            return cls(x.flat, (1, 1), (1, 1), (0, 0, 0, 0), result)
        return cls(x, node.kernel, node.stride, node.pads, result)

    @property
    def run(self) -> int:
        """Elements of a kernel row."""
        return self.kernel[1] * self.x.channels

    def window(self, image: int = 0, y: int = 0) -> int:
        """Return the address of the first element under the kernel, at a row's first result."""
        return self.x.at(image, y * self.stride[0] - self.pads[0], -self.pads[1])

    def pixels(self, rows: int, images: int, accumulate: bool) -> list[Loop]:
        """Return the loops over the windows of some rows of results."""
        (sy, sx), width, x = self.stride, self.result[1], self.x
        acc = int(accumulate)
        return [Loop(width, sx * x.channels, acc), Loop(rows, sy * x.row, width * acc),
                Loop(images, x.image, rows * width * acc)]


def convolution(job: Job, item: Forward, pool: Forward | None = None) -> None:
    """Products with tiles of weights, one chunk of a kernel row after the other.

    With ``pool`` POST keeps the largest of each window, and its tap; the map between them is never
    written.
    """
    node, c = item.node, job.config
    assert isinstance(node, Conv)
    result = job.memory.maps[node.output if pool is None else pool.result]
    shape = _Shape.of(node, job.memory.maps[node.x], job.shapes[node.output])
    width, channels = shape.result[1:]
    chunks = -(-shape.run // c.rows)
    weights, tail = job.memory.arrays[node.weights], shape.run - (chunks - 1) * c.rows
    if any(result.halo):
        job.fill(result)
    for o in range(0, channels, c.columns):
        for image, images, row, rows in _cuts(job, shape, pool):
            job.add(Tiles(base=weights + o, loops=[
                Loop(c.rows, channels), Loop(chunks, c.rows * channels),
                Loop(shape.kernel[0], shape.run * channels)]))
            stream = Stream(
                base=shape.window(image, row), pass_level=3, group_level=5, tail=(3, tail),
                loops=[*shape.pixels(rows, images, accumulate=True), Loop(chunks, c.rows),
                       Loop(shape.kernel[0], shape.x.row)])
            job.add(stream, _finished(job, item, pool, (image, images, row, rows), width, o),
                    reads=(node.x,))
    job.complete(node.output)
    if pool is not None:
        job.complete(pool.result, report=False)


def _cuts(job: Job, shape: _Shape, pool: Forward | None) -> list[tuple[int, int, int, int]]:
    """Cut the results into what a store holds; windows stay whole."""
    (height, width, _), most = shape.result, job.config.accumulator_depth
    if pool is None:
        return blocks(job.images, height, width, most)
    kh = pool.node.kernel[0]
    return [(image, images, row * kh, rows * kh) for image, images, row, rows in windows(
        job.images, height // kh, width, most, kernel=kh, stride=kh)]


def _finished(job: Job, item: Forward, pool: Forward | None, part: tuple[int, int, int, int],
              width: int, first: int) -> ResultNest:
    """Return the nest that finishes some rows of results, the channels from one on."""
    node, exponents, maps = item.node, job.exponents, job.memory.maps
    image, images, row, rows = part
    scale = item.sums(exponents)
    kh, kw = (1, 1) if pool is None else pool.node.kernel
    y = maps[item.result if pool is None else pool.result]
    nest = ResultNest(
        base=y.at(image, row // kh) + first, valid=min(job.config.columns, y.channels - first),
        right=exponents[node.output] - scale, rectify=node.rectify,
        loops=[Loop(width // kw, y.channels, kw), Loop(rows // kh, y.row, kh * width),
               Loop(images, y.image, rows * width)])
    if node.bias is not None:
        nest.operand = job.memory.arrays[node.bias] + first
        nest.left = exponents[node.bias] - scale
    if pool is not None:
        nest.pool_level = 2
        nest.loops = [Loop(kw, 0, 1), Loop(kh, 0, width), *nest.loops]
        nest.record = None if pool.record is None else maps[pool.record].base - y.base
    return nest


def conv_data(job: Job, item: ConvData) -> None:
    """Every pixel of ``dy`` times the transposed weights of a tap, added up where the tap lies."""
    node, c = item.node, job.config
    dx, dy = job.memory.maps[item.result], job.memory.maps[item.dy]
    shape = _Shape.of(node, dx, dy.shape)
    outputs, inputs = dy.channels, shape.x.channels
    chunks = -(-outputs // c.rows)
    taps = math.prod(shape.kernel)

    def tiles(first: int) -> Tiles:
        return Tiles(base=job.memory.arrays[node.weights] + first * outputs,
                     kind=LoadKind.TRANSPOSED,
                     loops=[Loop(c.columns, outputs), Loop(chunks, c.rows),
                            Loop(taps, inputs * outputs)])

    scatter(job, item, Spread(
        dx=shape.x, kernel=shape.kernel, stride=shape.stride, pads=shape.pads, dy=dy,
        windows=dy.shape[:2], source=item.dy, chunks=chunks,
        tail=outputs - (chunks - 1) * c.rows, tiles=tiles),
        right=job.exponents[item.result] - item.sums(job.exponents))
    job.complete(item.result)


def conv_weights(job: Job, item: ConvWeights) -> None:
    """Outer products of windows and ``dy``, one tile of weights after the other."""
    weight_sums(job, item, range(job.images), job.memory.maps[item.dy],
                lambda first: job.known((item.dy, f"channels from {first}")))
    job.complete(item.result)


def weight_sums(job: Job, item: ConvWeights, part: range, dy: Map,
                awaited: Callable[[int], Part], turn: int = 0) -> None:
    """Add what some images give to the gradient of weights.

    Parameters
    ----------
    job, item
        Where to, and what.
    part : range
        The images.
    dy : Map
        The gradient of the results; it begins with the first of these images.
    awaited : function of int
        What has to be complete for a tile's channels, from one on.
    turn : int
        How often the job wrote the gradient before.
    """
    node, c = item.node, job.config
    shape = _Shape.of(node, job.memory.maps[node.x], dy.shape)
    channels, run = dy.channels, shape.run
    right = job.exponents[item.result] - item.sums(job.exponents)
    gradient = job.memory.arrays[gradient_of(node.weights)]
    for o in range(0, channels, c.columns):
        for ky, kernel_rows, first, length in _parts(job, shape):
            chunks = -(-length // c.rows)
            outer = Outer(
                base=shape.window(part.start) + ky * shape.x.row + first, pass_level=3,
                group_level=5, tail=job.whole,
                loops=[*shape.pixels(shape.result[0], len(part), accumulate=False),
                       Loop(chunks, c.rows, c.rows),
                       Loop(kernel_rows, shape.x.row, chunks * c.rows)])
            address = gradient + (ky * run + first) * channels + o
            job.add(_operands(dy, len(part), o, chunks * kernel_rows), outer, ResultNest(
                base=address, valid=min(c.columns, channels - o), operand=address, left=right,
                right=right, stochastic=True, turn=turn,
                loops=[Loop(length, channels, 1, channels),
                       Loop(kernel_rows, run * channels, chunks * c.rows, run * channels)]),
                    reads=(node.x, awaited(o)))


def _operands(dy: Map, images: int, first: int, passes: int) -> Tiles:
    """Return all pixels of a gradient, some channels of it, once for every pass."""
    height, width, channels = dy.shape
    return Tiles(base=dy.at() + first, kind=LoadKind.OPERAND, loops=[
        Loop(width, channels), Loop(height, dy.row), Loop(images, dy.image), Loop(passes)])


def _parts(job: Job, shape: _Shape) -> list[tuple[int, int, int, int]]:
    """Cut the rows of a gradient into what a store holds: (ky, rows, first of the run, length)."""
    c, height = job.config, shape.kernel[0]
    chunks, most = -(-shape.run // c.rows), c.accumulator_depth // c.rows
    if chunks <= most:
        rows = most // chunks
        return [(ky, min(rows, height - ky), 0, shape.run) for ky in range(0, height, rows)]
    side = most * c.rows
    return [(ky, 1, first, min(side, shape.run - first))
            for ky in range(height) for first in range(0, shape.run, side)]


def bias_gradient(job: Job, item: BiasGradient) -> None:
    """Sum ``dy`` over pixels and images: outer products with one, or passes of an identity tile."""
    dy = job.memory.maps[item.dy]
    c = job.config
    if dy.shape[:2] == (1, 1) and dy.channels <= c.columns * c.accumulator_depth:
        _dense_bias(job, item, dy)
    else:
        height, width, _ = dy.shape
        for first in range(0, dy.channels, c.columns):
            ones = Outer(base=job.diagonal(), pass_level=3, group_level=3, tail=job.whole,
                         loops=[Loop(width), Loop(height), Loop(job.images)])
            job.add(_operands(dy, job.images, first, 1), ones, _bias(job, item, first),
                    reads=(item.dy,))
    job.complete(item.result)


def _dense_bias(job: Job, item: BiasGradient, dy: Map) -> None:
    """Sum over the images, one pass each; all channels are vectors of the same pass."""
    for first, lanes, vectors in spans(dy.channels, job.config.columns):
        job.add(job.diagonal_tiles(count=job.images))
        sums = Stream(base=dy.at() + first, pass_level=1, group_level=2, tail=job.whole,
                      loops=[Loop(vectors, lanes, 1), Loop(job.images, dy.image)])
        post = _bias(job, item, first)
        post.valid, post.loops = lanes, [Loop(vectors, lanes, 1, lanes)]
        job.add(sums, post, reads=(item.dy,))


def _bias(job: Job, item: BiasGradient, first: int) -> ResultNest:
    """Return the nest that adds one sum to the gradient of some channels, those from one on."""
    gradient = job.memory.arrays[item.result] + first
    right = job.exponents[item.result] - item.sums(job.exponents)
    channels = job.memory.maps[item.dy].channels
    return ResultNest(base=gradient, operand=gradient, left=right, right=right, stochastic=True,
                      valid=min(job.config.columns, channels - first), loops=[Loop(1)])
