"""Where everything lives in memory: constants at the top, maps from the bottom up."""

from dataclasses import dataclass, replace
from itertools import product

from systolith.hw.config import Config
from systolith.sw.bank_conflicts import BankConflicts
from systolith.sw.errors import ShortageError
from systolith.sw.ir import Graph
from systolith.sw.maps import Map
from systolith.sw.steps import Step

__all__ = ["MemoryPlan", "living_elements", "padded", "plan_memory"]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Addresses, and how much of the memory is used."""

    maps: dict[str, Map]
    #: Address of each constant, in the order given.
    constants: list[int]
    input_delta: int
    output_delta: int
    #: Elements taken by constants, and by maps at the fullest moment.
    constant_elements: int
    map_elements: int
    #: Of every map, the first step during which nothing else uses its place any more.
    free_since: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Life:
    """A map's size and the steps from the one that writes it to the last that reads it."""

    name: str
    elements: int
    first: int
    last: int


def plan_memory(graph: Graph, steps: list[Step], maps: dict[str, Map], constants: list[int],
                config: Config, readers: list[set[int]] | None = None) -> MemoryPlan:
    """Place maps (by name) and constants (by size in elements).

    Inputs and outputs get two buffers each, so that transfers overlap computing, or, where they do
    not fit, one. Maps that are read beside other maps or constants go to other banks than those,
    if there is room; ``readers`` says which steps read each constant (None: nobody asks).

    Raises
    ------
    ShortageError
        If the network does not fit; says what it needs and which step needs most.
    """
    lanes = config.lanes
    sizes = [padded(size, config) for size in constants]
    inputs = [port.tensor for port in graph.inputs]
    outputs = [port.tensor for port in graph.outputs]
    elements = {name: m.elements for name, m in maps.items()}
    for twice, apart, early, two in product(((inputs, outputs), ((), outputs), ((), ())),
                                            (True, False), (True, False), (True, False)):
        run = _constants(sizes, readers, config, two)
        if run is None:
            continue
        addresses, floor, kept = run
        spans = [(step, (begin, begin + size)) for reading, begin, size in
                 zip(readers or (), addresses, sizes, strict=bool(readers)) for step in reading]
        conflicts = BankConflicts(steps, elements, spans, config) if apart else None
        lives = list(_lives(graph, steps, maps, lanes, early))
        placed = _place(lives, len(steps), config, twice, conflicts, floor, kept)
        if placed[1] <= floor:
            addresses_of, top, deltas, free_since = placed
            located = {name: replace(m, address=addresses_of[name]) for name, m in maps.items()}
            return MemoryPlan(located, addresses, *deltas, sum(sizes), top, free_since)
    raise _shortage(graph, steps, maps, sum(sizes), config)


def living_elements(graph: Graph, steps: list[Step], maps: dict[str, Map],
                    config: Config) -> list[int]:
    """Return for each step the elements of all maps that live while it runs."""
    lives = list(_lives(graph, steps, maps, config.lanes))
    return [sum(life.elements for life in lives if life.first <= i <= life.last)
            for i in range(len(steps))]


def padded(elements: int, config: Config) -> int:
    """Return the memory that so many elements take, in whole words."""
    return -(-elements // config.lanes) * config.lanes


def _constants(sizes, readers, config, two):
    """Return the constants' addresses, the lowest at memory's end, and what else they take.

    They lie there one behind the other or, in ``two`` runs, those of every other step before the
    last bank: a step's map can then lie apart from its results and its weights, which matters where
    a bank has a single port. None: two runs do not fit, or would not help.
    """
    bank = config.bank_words * config.lanes
    behind = config.memory_elements, (config.banks - 1) * bank
    runs = [bool(two and readers and min(readers[i]) % 2) for i in range(len(sizes))]
    totals = [sum(size for size, run in zip(sizes, runs, strict=True) if run == which)
              for which in (False, True)]
    if two and (config.bank_ports != "single" or config.banks == 1 or max(totals) > bank):
        return None
    at = [end - total for end, total in zip(behind, totals, strict=True)]
    kept = (at[1], behind[1]) if two else None
    floor, addresses = at[0], []
    for size, run in zip(sizes, runs, strict=True):
        addresses.append(at[run])
        at[run] += size
    return addresses, floor, kept


def _place(lives, end, config, twice, conflicts, floor, kept=None):
    """Return addresses, the highest one used, deltas of inputs and outputs, and ``free_since``.

    Every map goes to the lowest place that is free while it lives or, with ``conflicts``, to the
    one below ``floor`` that costs least. ``kept`` is taken.
    """
    lives = {life.name: life for life in lives}
    bank = config.bank_words * config.lanes
    addresses: dict[str, int] = {}
    placed: dict[str, tuple[int, int]] = {}
    # begin, end, first step, last step
    taken: list[tuple[int, int, int, int]] = [(*kept, -1, end)] if kept else []

    def places(size, first, last):
        """Yield the free places: beginnings of gaps, and of banks in them."""
        at = 0
        for begin, stop in sorted((b, e) for b, e, since, until in taken
                                  if since <= last and until >= first):
            if begin - at >= size:
                yield at
                yield from range((at // bank + 1) * bank, begin - size + 1, bank)
            at = max(at, stop)
        yield at
        yield from range((at // bank + 1) * bank, floor - size + 1, bank)

    def put(size, first, last, name=None):
        at = next(places(size, first, last))
        if conflicts and name:
            room = [place for place in places(size, first, last) if place + size <= floor]
            at = min(room, default=at, key=lambda place: (
                conflicts.cost(name, (place, place + size), placed), place))
        taken.append((at, at + size, first, last))
        if name:
            placed[name] = at, at + size
        return at

    deltas = []
    for tensors in twice:
        names = list(dict.fromkeys(tensors))
        total = sum(lives[name].elements for name in names)
        start = put(2 * total, -1, end) if names else 0
        for name in names:
            addresses[name] = start
            placed[name] = start, start + lives[name].elements
            start += lives[name].elements
        deltas.append(total)
    for life in sorted(lives.values(), key=lambda item: (-item.elements, item.first)):
        if life.name not in addresses:
            addresses[life.name] = put(life.elements, life.first, life.last, life.name)
    free = {name: _free_since(span, lives[name].last, taken) for name, span in placed.items()}
    top = max((stop for begin, stop, _, _ in taken if (begin, stop) != kept), default=0)
    return addresses, top, deltas, free


def _free_since(span, last, taken):
    """Return the first step from which on nothing but a map itself is at its place.

    That ends with the map's last step, and so do the others that come before: what is there later
    begins later.
    """
    return max((until + 1 for begin, end, _, until in taken
                if begin < span[1] and end > span[0] and until < last), default=0)


def _lives(graph, steps, maps, lanes, early=False):
    """Yield the life of every map, in steps.

    A step's results and their halo are written after all steps before it have been read to the
    end: POST works in order, and a group is drained after its vectors have been read. With
    ``early`` the halo may be written a step before.
    """
    end = len(steps)
    written = {port.tensor: -1 for port in graph.inputs}
    read: dict[str, int] = {}
    for i, step in enumerate(steps):
        first = i - 1 if early and i > 0 and maps[step.output].halo else i
        written.setdefault(step.output, first)   # others may write other parts of it
        for name in step.inputs:
            read[name] = i
    for port in graph.outputs:
        read[port.tensor] = end
    for name, m in maps.items():
        # vectors may run past the end by less than a word
        elements = -(-m.elements // lanes) * lanes
        yield _Life(name, elements, written[name], read.get(name, written[name]))


def _shortage(graph, steps, maps, constants, config) -> ShortageError:
    size = config.operand_bits // 8
    living = living_elements(graph, steps, maps, config)
    most = max(living)
    worst = steps[living.index(most)].core.name
    fits = constants + most <= config.memory_elements
    pieces = " (not side by side: they live at different times)" if fits else ""
    return ShortageError(
        f"{graph.name} does not fit {config.describe()}: it needs {constants * size:,} bytes of "
        f"weights and parameters and, at {worst!r}, {most * size:,} bytes of feature maps, "
        f"{(constants + most) * size:,} together of the {config.memory_bytes:,} there are{pieces}",
        "use a smaller network or a target with more memory, or let it become several programs: "
        "--divide",
        constants=constants * size, maps=most * size, available=config.memory_bytes, worst=worst)
