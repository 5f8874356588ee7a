"""From a network to a program: fuse, lower, place, emit, assemble."""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import Engine, Relocate
from systolith.sw.assembler import assemble
from systolith.sw.batching import batched, image_of, stacked
from systolith.sw.buffers import Buffer
from systolith.sw.emit import Constants, Emitter, pack_constants
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Conv, Graph, HostOp, Port
from systolith.sw.lowering.interleaving import interleaved
from systolith.sw.lowering.lower import lower_step, needed_halo, unit_of
from systolith.sw.lowering.plan import Plan
from systolith.sw.maps import Halo, Map
from systolith.sw.memory_plan import MemoryPlan, living_elements, padded, plan_memory
from systolith.sw.nests import Nest
from systolith.sw.passes.verify import verify
from systolith.sw.pieces import post_slack
from systolith.sw.program import LayerInfo, Program
from systolith.sw.steps import Step, fuse
from systolith.sw.timing import Timing, measure

__all__ = ["compile_graph"]

#: A halo is filled at most so many steps before the map is written.
_STEPS_AHEAD = 2


def compile_graph(graph: Graph, config: Config, batch: int = 1) -> Program:
    """Compile a network for a configuration; a job of it takes ``batch`` images.

    Raises
    ------
    CapacityError
        If it does not fit, or sums could overflow; the message names all layers in the way. The
        memory it tells of is that of the others.
    ValueError
        If it holds host operations; :func:`systolith.sw.partition.compile_network` takes those.
    """
    try:
        draft = _draft(graph, config, batch)
    except CapacityError as error:
        if batch == 1:
            raise
        largest = _largest_batch(graph, config, batch)
        raise CapacityError(
            f"{batch} images at once do not fit: {error.reason}",
            f"the most that fit are {largest}") from error
    timing = measure(config, draft.words)
    memory = draft.memory
    return Program(
        config=config, name=graph.name, words=draft.words, batch=batch,
        segments=_segments(draft.constants, config),
        inputs=[_buffer(port, graph, memory.maps, memory.input_delta, batch)
                for port in graph.inputs],
        outputs=[_buffer(port, graph, memory.maps, memory.output_delta, batch)
                 for port in graph.outputs],
        input_delta=memory.input_delta, output_delta=memory.output_delta,
        layers=_joined(_timed(draft.layers, draft.nests, timing), graph, batch),
        predicted_cycles=timing.cycles,
        constant_elements=memory.constant_elements, map_elements=memory.map_elements)


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A program whose cycles are not known yet."""

    words: np.ndarray
    nests: list[Nest]
    memory: MemoryPlan
    constants: list[list[Constants]]
    layers: list[LayerInfo]


def _largest_batch(graph: Graph, config: Config, too_many: int) -> int:
    """Return how many images fit.

    Raises
    ------
    CapacityError
        If not even one does.
    """
    _draft(graph, config, 1)
    fits = 1
    while too_many - fits > 1:
        images = (fits + too_many) // 2
        try:
            _draft(graph, config, images)
            fits = images
        except CapacityError:
            too_many = images
    return fits


def _draft(model: Graph, config: Config, batch: int) -> _Draft:
    hosted = [op for op in model.ops if isinstance(op, HostOp)]
    if hosted:
        raise ValueError(f"{hosted[0].name} ({hosted[0].kind}) runs on the host: compile the "
                         "network with systolith.sw.partition.compile_network")
    if config.operand_bits != 8:
        raise CapacityError(f"{config.describe()}: int8 networks need operand_bits = 8")
    verify(model)
    graphs = [model] if batch == 1 else [
        batched(model, batch, by_layer=True), batched(model, batch, by_layer=False)]
    for interleave, graph in product((True, False), graphs):
        steps = fuse(graph)
        maps = _maps(graph, steps, config)
        if interleave:
            plain = maps
            maps = plain | {port.tensor: interleaved(plain[port.tensor], steps, graph, config)
                            for port in graph.inputs if not stacked(port.tensor, graph, model)}
            if maps == plain:
                continue
        try:
            return _laid_out(graph, steps, maps, config)
        except CapacityError as error:           # other orders and layouts may take less room
            refused = error
    raise refused


def _laid_out(graph: Graph, steps: list[Step], maps: dict[str, Map], config: Config) -> _Draft:
    """Compile steps whose maps have their halos and layouts."""
    plans, errors = _lower(graph, steps, maps, config)
    constants = [[pack_constants(plan, config) for plan in of_step] for of_step in plans]
    layers = _layers(graph, steps, maps, plans, constants, config)
    try:
        memory, constants = _place(graph, steps, maps, constants, config)
        if not errors:
            nests, words = _emit(graph, steps, plans, constants, memory, config)
    except CapacityError as error:
        errors.append(error)
    if errors:
        error = CapacityError.joined(errors)
        error.layers = layers
        raise error
    return _Draft(words, nests, memory, constants, layers)


def _maps(graph: Graph, steps: list[Step], config: Config) -> dict[str, Map]:
    """Give every tensor kept in memory its halo, the union over its readers."""
    names = [port.tensor for port in graph.inputs] + [step.output for step in steps]
    halos = {name: Halo() for name in names}
    for step in steps:
        halos[step.x] = halos[step.x].union(needed_halo(step, graph))
    unit = config.alignment

    def stored(channels):
        return -(-channels // unit) * unit

    return {name: Map(graph.tensors[name], halo, stored(graph.tensors[name].shape[2]))
            for name, halo in halos.items()}


def _lower(graph: Graph, steps: list[Step], maps: dict[str, Map],
           config: Config) -> tuple[list[list[Plan]], list[CapacityError]]:
    """Return the plans of every step; none of a step that the hardware cannot do, but an error."""
    plans: list[list[Plan]] = []
    errors: list[CapacityError] = []
    for step in steps:
        try:
            plans.append(lower_step(step, [maps.get(name) for name in step.core.inputs], graph,
                                    config))
        except CapacityError as error:
            plans.append([])
            errors.append(error)
    return plans, errors


def _place(graph: Graph, steps: list[Step], maps: dict[str, Map],
           constants: list[list[Constants]],
           config: Config) -> tuple[MemoryPlan, list[list[Constants]]]:
    # parameters first: POST reads them beside the weights, so they had better lie apart
    flat = [c for of_step in constants for c in of_step]
    readers = [i for i, of_step in enumerate(constants) for _ in of_step]
    arrays = [c.parameters for c in flat] + [c.tiles for c in flat]
    # what several plans have in common is stored once
    keys = [array.tobytes() for array in arrays]
    sizes = {key: array.size for key, array in zip(keys, arrays, strict=True)}
    readers_of = defaultdict(set)
    for key, reader in zip(keys, readers * 2, strict=True):
        readers_of[key].add(reader)
    memory = plan_memory(graph, steps, maps, list(sizes.values()), config,
                         [readers_of[key] for key in sizes])
    addresses = dict(zip(sizes, memory.constants, strict=True))
    parameters, tiles = (iter([addresses[key] for key in part])
                         for part in (keys[:len(flat)], keys[len(flat):]))
    placed = [[replace(c, tile_address=next(tiles), parameter_address=next(parameters))
               for c in of_step] for of_step in constants]
    return memory, placed


def _emit(graph: Graph, steps: list[Step], plans: list[list[Plan]],
          constants: list[list[Constants]], memory: MemoryPlan,
          config: Config) -> tuple[list[Nest], np.ndarray]:
    """Return the nests and their program, shorter and slower if it does not fit otherwise."""
    relocated = {port.tensor: Relocate.INPUT for port in graph.inputs} | {
        port.tensor: Relocate.OUTPUT for port in graph.outputs}

    def emitted(overlap):
        emitter = Emitter(graph, config, memory.maps, relocated, overlap=overlap)
        halos = _halos(steps, plans, memory, config)
        for i, (step, of_step, packed) in enumerate(zip(steps, plans, constants, strict=True)):
            after = steps[i + 1] if i + 1 < len(steps) else None
            follower = plans[i + 1] if after and after.x == step.output else []
            emitter.step(step, of_step, packed, follower[0] if len(follower) == 1 else None,
                         halos[i], urgent=after is None or not _repeats(after, step))
        return emitter.nests, assemble(emitter.nests, config)

    try:
        return emitted(overlap=True)
    except CapacityError:
        return emitted(overlap=False)


def _repeats(after: Step, step: Step) -> bool:
    """Return whether a step does the same as the one before it, for another image."""
    return (isinstance(step.core, Conv) and isinstance(after.core, Conv)
            and after.core.weights is step.core.weights)


def _halos(steps: list[Step], plans: list[list[Plan]], memory: MemoryPlan,
           config: Config) -> list[list[str]]:
    """Return for each step whose halos are filled during it.

    The step is the one in which POST has the most time, of those from when the place is free until
    the map is written.
    """
    slack = [post_slack(of_step, step.residual is not None, config)
             for step, of_step in zip(steps, plans, strict=True)]
    halos = [[] for _ in steps]
    begun = set()
    for i, step in enumerate(steps):
        target = memory.maps[step.output]
        if target.halo and step.output not in begun:
            earliest = min(i, max(memory.free_since[step.output], i - _STEPS_AHEAD))
            best = max(range(i, earliest - 1, -1), key=slack.__getitem__)
            halos[best].append(step.output)
            h, w, _ = target.tensor.shape
            slack[best] -= (target.elements - h * w * target.channels) // config.fill_lanes
        begun.add(step.output)
    return halos


def _segments(constants: list[list[Constants]], config: Config) -> list[tuple[int, np.ndarray]]:
    """Return the constants as runs of elements."""
    flat = sorted([part for of_step in constants for c in of_step
                   for part in ((c.tile_address, c.tiles), (c.parameter_address, c.parameters))],
                  key=lambda part: part[0])
    runs: list[list[tuple[int, np.ndarray]]] = []
    for address, elements in flat:
        # one behind the other, but for what fills the last word
        if not runs or address - runs[-1][-1][0] - runs[-1][-1][1].size >= config.lanes:
            runs.append([])
        runs[-1].append((address, elements))
    segments = []
    for run in runs:
        (begin, _), (last, tail) = run[0], run[-1]
        image = np.zeros(last + tail.size - begin, tail.dtype)
        for address, elements in run:
            image[address - begin:address - begin + elements.size] = elements
        segments.append((begin, image))
    return segments


def _buffer(port: Port, model: Graph, maps: dict[str, Map], delta: int, batch: int) -> Buffer:
    own = [maps.get(image_of(port.tensor, image)) for image in range(batch)]
    if None in own:                              # one map for all images
        placed = maps[port.tensor]
        rows = model.tensors[port.tensor].shape[0]
        offsets = [placed.stride(image * rows, 0) for image in range(batch)]
    else:
        placed = own[0]
        offsets = [one.address - placed.address for one in own]
    halo = placed.halo
    return Buffer(port=port, tensor=model.tensors[port.tensor], address=placed.address, delta=delta,
                  offsets=tuple(offsets),
                  halo=(halo.top, halo.left, halo.bottom, halo.right), channels=placed.channels,
                  interleave=placed.interleave)


def _layers(graph: Graph, steps: list[Step], maps: dict[str, Map], plans: list[list[Plan]],
            constants: list[list[Constants]], config: Config) -> list[LayerInfo]:
    """Return what is known of the steps before they have addresses."""
    living = living_elements(graph, steps, maps, config)
    layers = []
    for step, of_step, packed, alive in zip(steps, plans, constants, living, strict=True):
        if not of_step:
            continue
        stored = {array.tobytes(): padded(array.size, config)
                  for c in packed for array in (c.parameters, c.tiles)}
        layers.append(LayerInfo(
            name=step.core.name, op="+".join(op.kind for op in step.ops),
            macs=sum(graph.macs(op) for op in step.ops), parts=tuple(op.name for op in step.ops),
            unit=unit_of(step, of_step, graph),
            obstacle=next((plan.obstacle for plan in of_step if plan.obstacle), None),
            interleave=maps[step.x].interleave,
            constant_elements=sum(stored.values()), map_elements=alive))
    return layers


def _timed(layers: list[LayerInfo], nests: list[Nest], timing: Timing) -> list[LayerInfo]:
    """Split the job's cycles among the steps: from the end of the one before to its own end."""
    ends: dict[str, int] = {}
    for nest, ran in zip(nests, timing.nests, strict=True):
        if nest.engine is Engine.POST and not nest.op.startswith("halo"):
            ends[nest.op] = max(ends.get(nest.op, 0), ran.finished)
    timed, before = [], 0
    for i, layer in enumerate(layers):
        end = timing.cycles if i == len(layers) - 1 else ends[layer.name]
        timed.append(replace(layer, cycles=end - before))
        before = end
    return timed


def _joined(layers: list[LayerInfo], model: Graph, batch: int) -> list[LayerInfo]:
    """Return the layers of a batch with those that do the same for one image each as one."""
    names = {image_of(op.name, image): op.name for op in model.ops for image in range(batch)}
    joined: dict[str, LayerInfo] = {}
    for layer in layers:
        name = names.get(layer.name, layer.name)
        one = replace(layer, name=name, parts=tuple(
            dict.fromkeys(names.get(part, part) for part in layer.parts)))
        before = joined.get(name)
        joined[name] = one if before is None else replace(
            before, macs=before.macs + one.macs, cycles=before.cycles + one.cycles,
            map_elements=max(before.map_elements, one.map_elements))
    return list(joined.values())
