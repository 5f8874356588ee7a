"""Where everything of a training step lies: parameters for good, maps as long as they are read."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.train.gradients import Plan
from systolith.sw.train.graph import AveragePool, Conv, Network
from systolith.sw.train.lowering.fusion import chunk_of, fused_steps
from systolith.sw.train.numerics import RESULT_ELEMENTS
from systolith.sw.train.steps import (
    Backward,
    ConvData,
    ConvWeights,
    CrossEntropy,
    Forward,
    GradientSum,
    Item,
    Loss,
    MaxBackward,
    chunked,
    gradient_of,
)

__all__ = ["REPORT_ELEMENTS", "Map", "MemoryPlan", "from_device", "most_images", "padded",
           "plan_memory", "to_device"]

#: Elements of a result's range.
REPORT_ELEMENTS = 3
#: Factors that one job may have on the diagonals of its tiles.
_DIAGONALS = 24


@dataclass(frozen=True, slots=True)
class Map:
    """A feature map, ``[image][h][w][c]`` with its halo of zeros: addresses of its pixels."""

    base: int
    shape: tuple[int, int, int]
    #: Rows or columns of zeros at the top, left, bottom, right.
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def channels(self) -> int:
        """Elements from one pixel to the next."""
        return self.shape[2]

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return (self.halo[1] + self.shape[1] + self.halo[3]) * self.channels

    @property
    def image(self) -> int:
        """Elements from one image to the next."""
        return (self.halo[0] + self.shape[0] + self.halo[2]) * self.row

    def at(self, image: int = 0, y: int = 0, x: int = 0) -> int:
        """Return the address of a pixel; negative ones lie in the halo."""
        return (self.base + image * self.image + (self.halo[0] + y) * self.row
                + (self.halo[1] + x) * self.channels)

    @property
    def flat(self) -> "Map":
        """The map as one pixel; it must not have a halo."""
        return Map(self.base, (1, 1, math.prod(self.shape)))


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Addresses of everything.

    Attributes
    ----------
    arrays : dict of name to int
        Parameters ``[kh][kw][i][o]`` (biases ``[o]``) and their gradients.
    maps : dict of name to Map
        Tensors, records and gradients of maps.
    reports : dict of name to int
        Where the range of a result is written: that of its first part, others follow.
    report_elements : int
        Of all ranges.
    chunks : dict of name to int
        Images over which the gradient of a parameter is summed, if not over all.
    diagonals : tuple of int
        Places for factors: where the pattern begins that LOAD makes a diagonal tile of.
    used : int
        Elements taken.
    """

    arrays: dict[str, int]
    maps: dict[str, Map]
    reports: dict[str, int]
    report_elements: int
    chunks: dict[str, int]
    diagonals: tuple[int, ...]
    used: int

    def places(self, plan: Plan) -> dict[str, np.ndarray]:
        """Return the address of every element of trained parameters and their gradients.

        uint32 of the parameter's own shape: what stochastic rounding draws from.
        """
        places = {}
        for parameter in plan.trained:
            shape = plan.network.parameters[parameter].shape
            for name in (parameter, gradient_of(parameter)):
                flat = np.arange(math.prod(shape), dtype=np.uint32) + self.arrays[name]
                places[name] = from_device(flat, shape)
        return places


def from_device(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array ``[o][kh][kw][i]`` (or ``[o]``) of one that lies ``[kh][kw][i][o]``."""
    return np.moveaxis(flat.reshape(*shape[1:], shape[0]), -1, 0)


def to_device(array: np.ndarray) -> np.ndarray:
    """Return the elements of ``[o][kh][kw][i]`` in the order in which they lie in memory."""
    return np.moveaxis(array, 0, -1).ravel()


def padded(size: int, config: Config) -> int:
    """Return the elements that an array takes: whole vectors of an update."""
    return -(-size // config.columns) * config.columns


def plan_memory(plan: Plan, config: Config, images: int) -> MemoryPlan:
    """Place everything that a job over ``images`` images needs.

    Raises
    ------
    CapacityError
        If it does not fit; the advice is the largest number of images that does.
    """
    result = _place(plan, config, images)
    if result.used > config.memory_elements:
        fits = most_images(plan, config, images - 1)
        raise CapacityError(
            f"{plan.network.name}: a step over {images} images takes {result.used:,} elements, "
            f"{config.describe()} holds {config.memory_elements:,}",
            f"use micro-batches of at most {fits}" if fits else "use a smaller network")
    return result


def most_images(plan: Plan, config: Config, limit: int) -> int:
    """Return the largest number of images up to a limit over which a job fits, or 0."""
    return max((n for n in range(1, limit + 1)
                if _place(plan, config, n).used <= config.memory_elements), default=0)


def _place(plan: Plan, config: Config, images: int) -> MemoryPlan:
    """Place everything, if it fits so that what one pair of items reads is in banks apart."""
    # before anything else: hardly ever in the bank of a map that is read with them
    slot = config.rows + config.columns - 1
    diagonals = tuple(range(0, _DIAGONALS * slot, slot))
    bottom = _DIAGONALS * slot
    pairs = _chunked(plan, config, images)
    between = {pool.result: 2 * size for (pool, _), size in pairs}
    between |= {item.apart: 1 for item in plan.items
                if isinstance(item, MaxBackward) and item.apart is not None}
    parts = {item.result: len(chunked(images, size)) for pair, size in pairs for item in pair}
    chunks = {weights.node.weights: size for (_, weights), size in pairs}
    maps = _living(plan, config, images, between)
    lengths = _lengths(plan, config)
    orders: Iterable[_Order] = [_Order({}, _in_a_row(lengths, bottom))]
    if pairs:                                    # of the first, which has the largest maps
        (pool, weights), _ = pairs[0]
        read = dict.fromkeys(maps.replaced.get(name, name)
                             for name in (pool.record, pool.dy, weights.node.x))
        orders = itertools.chain(_apart({name: maps.sizes[name] for name in read}, lengths, bottom,
                                        config.bank_words * config.lanes), orders)
    for order in orders:
        top = max((place + lengths[name] for name, place in order.arrays.items()), default=bottom)
        reports, begin = {}, top
        for name in dict.fromkeys([item.result for item in plan.items]
                                  + [*plan.trained, *map(gradient_of, plan.trained)]):
            reports[name], top = top, top + REPORT_ELEMENTS * parts.get(name, 1)
        taken = [(place, place + lengths[name]) for name, place in order.arrays.items()]
        places, used = _place_maps(plan, config, maps, order.maps, [*taken, (begin, top)], bottom)
        if used <= config.memory_elements:
            break
    return MemoryPlan(order.arrays, places, reports, top - begin, chunks, diagonals, used)


def _lengths(plan: Plan, config: Config) -> dict[str, int]:
    """Return the elements of every array: of parameters, and of gradients the other way around.

    So an update hardly ever finds a parameter and its gradient in the same bank.
    """
    parameters = {name: padded(values.size, config)
                  for name, values in plan.network.parameters.items()}
    return parameters | {gradient_of(name): size for name, size in reversed(parameters.items())
                         if name in plan.trained}


@dataclass(frozen=True, slots=True)
class _Order:
    """Addresses of maps and arrays."""

    maps: dict[str, int]
    arrays: dict[str, int]


def _in_a_row(lengths: Mapping[str, int], bottom: int) -> dict[str, int]:
    """Return addresses, one behind the other."""
    ends = itertools.accumulate(lengths.values(), initial=bottom)
    return dict(zip(lengths, ends, strict=False))


def _apart(maps: Mapping[str, int], arrays: Mapping[str, int], bottom: int,
           bank: int) -> Iterator[_Order]:
    """Yield orders of maps with arrays behind each, in which no two maps share a bank."""
    names = list(arrays)
    for cuts in itertools.combinations_with_replacement(range(len(names) + 1), len(maps) - 1):
        bounds = (0, *cuts, len(names))
        sequence = [name for map_, begin, end in zip(maps, bounds, bounds[1:], strict=False)
                    for name in (map_, *names[begin:end])]
        places = _in_a_row({name: (maps if name in maps else arrays)[name] for name in sequence},
                           bottom)
        spans = [(places[name] // bank, (places[name] + size - 1) // bank)
                 for name, size in maps.items()]
        if all(last < first for (_, last), (first, _) in itertools.pairwise(spans)):
            yield _Order({name: places[name] for name in maps},
                         {name: places[name] for name in arrays})


def _chunked(plan: Plan, config: Config, images: int) -> list[tuple[tuple[Item, ...], int]]:
    """Return the pairs of items that run chunk after chunk, and a chunk's images."""
    steps = fused_steps(plan.items, plan.network, config)
    sizes = [chunk_of(step, plan.items, plan.network, config) for step in steps]
    return [(step, size) for step, size in zip(steps, sizes, strict=True) if 0 < size < images]


@dataclass(frozen=True, slots=True)
class _Living:
    """Maps in memory: shape and halo, elements, first and last step of each's life.

    ``replaced`` are those that lie where another map was.
    """

    shapes: dict[str, tuple[tuple[int, int, int], tuple[int, int, int, int]]]
    sizes: dict[str, int]
    lives: dict[str, tuple[int, int]]
    replaced: dict[str, str]


def _living(plan: Plan, config: Config, images: int, between: Mapping[str, int]) -> _Living:
    """Return the maps; of those in ``between`` only so many images lie in memory."""
    shapes = _map_shapes(plan)
    lives = {plan.network.input: (0, 0), plan.loss.targets: (0, 0)}
    for number, step in enumerate(fused_steps(plan.items, plan.network, config)):
        never = {item.result for item in step[:-1] if isinstance(item, Forward)}    # written
        for name in (name for item in step for name in (*_reads(item), *_writes(item))):
            if name in shapes and name not in never:
                lives[name] = lives.get(name, (number, number))[0], number
    lives[plan.loss.kept] = 0, number
    replaced = _replaced(plan, shapes, lives)
    for result, mask in replaced.items():
        lives[mask] = lives[mask][0], lives.pop(result)[1]
    sizes = {name: min(images, between.get(name, images)) * Map(0, *shapes[name]).image
             for name in lives}
    return _Living(shapes, sizes, lives, replaced)


def _place_maps(plan: Plan, config: Config, maps: _Living, fixed: Mapping[str, int],
                taken: list[tuple[int, int]], bottom: int) -> tuple[dict[str, Map], int]:
    """Place every map that is not fixed, and none where it is taken.

    Gradients go to the upper end, if all fit, the others to the lower one: a map and the gradient
    it is multiplied by are read at the same time, and so they are hardly ever in the same bank.
    """
    gradients = {item.result for item in (plan.loss, *plan.backward)}
    records = {item.record for item in plan.forward if item.record is not None}
    places, end = _fit(maps, fixed, taken, bottom, early=records)
    top = config.memory_elements
    apart, highest = _fit(maps, fixed, taken, bottom, dict.fromkeys(gradients, top), records)
    if min(apart.values()) >= bottom and highest <= top:
        places, end = apart, highest
    places |= {result: places[mask] for result, mask in maps.replaced.items()}
    return {name: Map(place, *maps.shapes[name]) for name, place in places.items()}, end


def _replaced(plan: Plan, shapes: Mapping[str, tuple],
              lives: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Return gradients that take the place of their masks: each element's is read before it.

    That goes where nobody reads the mask later, and no zeros are written around the sums first.
    """
    found = {}
    for item in plan.backward:
        if not isinstance(item, ConvData) or item.mask is None:
            continue
        node, (shape, halo) = item.node, shapes[item.result]
        covers = tuple((n - 1) * s + k for n, s, k in zip(
            plan.network.shapes[node.output][:2], node.stride, node.kernel, strict=True))
        if (lives[item.mask][1] == lives[item.result][0] and covers == shape[:2]
                and shapes[item.mask] == (shape, halo) and not any((*halo, *node.pads))):
            found[item.result] = item.mask
    return found


def _fit(maps: _Living, fixed: Mapping[str, int], taken: list[tuple[int, int]], bottom: int,
         tops: Mapping[str, int] = MappingProxyType({}),
         early: Set[str] = frozenset()) -> tuple[dict[str, int], int]:
    """Place each where all of it is free while it lives, what always lives and the largest first.

    Of equal ones those in ``early`` are first. That is as low as possible, for those in ``tops`` as
    high as possible below their top. Returned are the places and the end of the highest.
    """
    sizes, lives, places = maps.sizes, maps.lives, dict(fixed)
    always = min(first for first, _ in lives.values()), max(last for _, last in lives.values())
    for name in sorted((name for name in sizes if name not in fixed), key=lambda name: (
            lives[name] != always, -sizes[name], name not in early)):
        first, last = lives[name]
        spans = sorted([*taken, *((places[other], places[other] + sizes[other]) for other in places
                                  if lives[other][0] <= last and first <= lives[other][1])])
        if name in tops:
            place = tops[name] - sizes[name]
            for begin, end in sorted(spans, key=lambda span: -span[1]):
                if end > place and begin < place + sizes[name]:
                    place = begin - sizes[name]
        else:
            place = bottom
            for begin, end in spans:
                if begin < place + sizes[name] and end > place:
                    place = end
        places[name] = place
    ends = [places[name] + sizes[name] for name in places]
    return places, max(ends + [end for _, end in taken])


def _map_shapes(plan: Plan) -> dict[str, tuple[tuple[int, int, int], tuple[int, int, int, int]]]:
    """Return shape and halo of every tensor; records and gradients lie as what they belong to."""
    network = plan.network
    shapes = {name: (shape, _halo(network, name)) for name, shape in network.shapes.items()}
    of: dict[str, str] = {}
    for item in plan.items:
        if isinstance(item, Forward):
            if item.record is not None:
                of[item.record] = item.node.output
        elif isinstance(item, Loss):
            of[item.result] = of[item.targets] = item.logits
        elif isinstance(item, GradientSum):
            of[item.result] = item.node.output
        elif item.result not in map(gradient_of, plan.trained):
            of[item.result] = item.node.x
    shapes |= {name: shapes[tensor] for name, tensor in of.items()}
    for item in plan.items:
        if isinstance(item, MaxBackward) and item.apart is not None:
            (height, width, channels), (kh, kw) = network.shapes[item.node.output], item.node.kernel
            shapes[item.apart] = (height * kh, width * kw, channels), (0, 0, 0, 0)
    if isinstance(plan.loss, CrossEntropy):
        shapes[plan.loss.targets] = (1, 1, RESULT_ELEMENTS + 1), (0, 0, 0, 0)
    return shapes


def _halo(network: Network, tensor: str) -> tuple[int, int, int, int]:
    """Return the zeros that readers need around a tensor: a maximum goes without."""
    pads = [node.pads for node in network.consumers(tensor) if isinstance(node, Conv | AveragePool)]
    return tuple(max(side) for side in zip((0, 0, 0, 0), *pads, strict=True))


def _reads(item: Item) -> tuple[str, ...]:
    names: tuple[str | None, ...] = (item.mask,)
    if isinstance(item, Forward):
        names += item.node.inputs
    elif isinstance(item, Loss):
        names += (item.logits, item.targets)
    elif isinstance(item, GradientSum):
        names += item.parts
    elif isinstance(item, Backward):
        names += (item.dy,)
        if isinstance(item, ConvWeights):
            names += (item.node.x,)
        elif isinstance(item, MaxBackward):
            names += (item.record,)
    return tuple(name for name in names if name is not None)


def _writes(item: Item) -> tuple[str, ...]:
    beside = None
    if isinstance(item, Forward):
        beside = item.record
    elif isinstance(item, MaxBackward):
        beside = item.apart
    return (item.result,) if beside is None else (item.result, beside)
