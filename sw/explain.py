"""Where every node of a model file runs, why and what it costs; or what keeps the model from it.

Nothing is worked out again here: the importers say what became of the nodes
(:mod:`systolith.sw.origin`), the compiler what its steps occupy
(:class:`systolith.sw.program.LayerInfo`), the errors which nodes and layers block.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError, ShortageError, UnsupportedError
from systolith.sw.importer.load import load_model
from systolith.sw.ir import Graph
from systolith.sw.origin import Fate, Origin
from systolith.sw.partition import compile_network
from systolith.sw.program import LayerInfo
from systolith.sw.steps import Unit

__all__ = ["Block", "Explanation", "Memory", "NodeReport", "Place", "explain_model"]


class Place(StrEnum):
    """Where a node runs."""

    ARRAY = "array"
    WINDOW = "window"
    DIAGONAL = "diagonal"
    POST = "post-processor"
    FUSED = "fused"
    LAYOUT = "layout"
    SCALE = "scale"
    CONSTANT = "constant"
    HOST = "host"
    UNUSED = "unused"
    BLOCKED = "blocked"
    UNPLACED = "not placed"
    UNKNOWN = "unknown"


_UNITS = {
    Unit.ARRAY: (Place.ARRAY, "the array multiplies it with weights it holds"),
    Unit.WINDOW: (Place.WINDOW, "up to 3 x 3 pixels of a channel enter the array's rows at once"),
    Unit.DIAGONAL: (Place.DIAGONAL, "every channel for itself, weights on the array's diagonal"),
    Unit.COPY: (Place.POST, "the array passes pixels on as they are, the post-processor works"),
    Unit.HOST: (Place.HOST, "between two programs: the device has no unit for it"),
}
_FATES = {
    Fate.LAYOUT: (Place.LAYOUT, "free: another view of the same map"),
    Fate.QUANTIZATION: (Place.SCALE, "free: tells a map's scale"),
    Fate.CONSTANT: (Place.CONSTANT, "free: computed while the model is read"),
    Fate.HOST: (Place.HOST, "at the model's end, on results that have left the device"),
    Fate.PREPARATION: (Place.HOST, "on the model's input, before it is quantised"),
    Fate.REFUSED: (Place.BLOCKED, ""),
    Fate.UNKNOWN: (Place.UNKNOWN, "reads what a blocked node should make"),
}
_FUSED = "done to a step's results on their way to memory; its time is in that step's"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """A node of the model file: where it runs, why, and what it costs.

    Costs are those of the steps it leads; nodes fused into a step cost nothing of their own. None:
    not known, because the model does not run.
    """

    node: str
    op: str
    where: Place
    why: str
    #: The step of the program that does it, if one does.
    layer: str | None = None
    macs: int = 0
    #: Predicted cycles, and their share of all.
    cycles: int | None = None
    share: float | None = None
    #: Part of the array's multiply-accumulates in those cycles that the node uses.
    utilization: float | None = None
    #: Bytes of its weights and parameters, and of all maps that live while it runs.
    constant_bytes: int = 0
    map_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Something that keeps a model from running; without a node it is the model as a whole."""

    node: str | None
    op: str | None
    reason: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the fullest program asks of memory, bytes."""

    constants: int
    maps: int
    available: int
    #: The step whose maps take most.
    worst: str
    #: Blocked layers take some more, which is not known.
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is to be said of a model on a target."""

    model: str
    config: Config
    nodes: list[NodeReport]
    blocks: list[Block] = field(default_factory=list)
    #: Predicted cycles of an image; None if the model does not run.
    cycles: int | None = None
    #: None where that was not reached.
    memory: Memory | None = None
    #: Programs the network is cut into by the host's operations.
    segments: int = 0
    #: What compiling the model would raise.
    error: UnsupportedError | CapacityError | None = None
    #: The network, where the file could be mapped.
    graph: Graph | None = None

    @property
    def runs(self) -> bool:
        """Whether the model runs on the target."""
        return self.error is None

    def fits(self, configs: Mapping[str, Config]) -> list[str]:
        """Return the names of those configurations that would run the network, by compiling it."""
        return [name for name, config in configs.items()
                if self.graph is not None and _compiles(self.graph, config)]

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {
            "model": self.model, "target": self.config.name,
            "config_hash": f"{self.config.hash:08x}", "runs": self.runs, "cycles": self.cycles,
            "segments": self.segments, "nodes": [asdict(node) for node in self.nodes],
            "blocks": [asdict(block) for block in self.blocks],
            "memory": None if self.memory is None else asdict(self.memory),
        }


def explain_model(path: str | Path, config: Config,
                  calibration: np.ndarray | Mapping[str, np.ndarray] | None = None,
                  divide: bool = False) -> Explanation:
    """Explain a model file for a configuration.

    Parameters
    ----------
    path, calibration
        See :func:`systolith.sw.importer.load.load_model`.
    config : Config
        What it is compiled for.
    divide : bool
        See :func:`systolith.sw.partition.compile_network`.

    Raises
    ------
    ModelError
        If the file cannot be read at all.
    DataError
        If the calibration data are unusable.
    """
    model = str(path)
    try:
        graph = load_model(path, calibration)
    except UnsupportedError as error:
        blocks = [Block(**_fields(refusal)) for refusal in error.refusals]
        return Explanation(model=model, config=config, blocks=blocks, error=error,
                           nodes=_nodes(error.origins, [], blocks, config, None))
    try:
        network = compile_network(graph, config, divide=divide)
    except CapacityError as error:
        blocks = [_block(part, graph.origins) for part in error.parts]
        return Explanation(
            model=model, config=config, blocks=blocks, error=error, graph=graph,
            nodes=_nodes(graph.origins, error.layers, blocks, config, None),
            memory=_shortage(error))
    layers, size = network.layers, _bytes(config)
    largest = max(network.programs, default=None,
                  key=lambda program: program.constant_elements + program.map_elements)
    memory = None if largest is None else Memory(
        constants=largest.constant_elements * size, maps=largest.map_elements * size,
        available=config.memory_bytes,
        worst=max(largest.layers, key=lambda layer: layer.map_elements).name)
    cycles = network.predicted_cycles
    return Explanation(
        model=model, config=config, cycles=cycles, graph=graph, memory=memory,
        nodes=_nodes(graph.origins, layers, [], config, cycles), segments=len(network.programs))


def _compiles(graph: Graph, config: Config) -> bool:
    try:
        compile_network(graph, config)
    except CapacityError:
        return False
    return True


def _fields(refusal: Any) -> dict[str, str]:
    return {"node": refusal.node, "op": refusal.op, "reason": refusal.reason,
            "advice": refusal.advice}


def _bytes(config: Config) -> int:
    return config.operand_bits // 8


def _block(error: CapacityError, origins: Iterable[Origin]) -> Block:
    """Return what an error blocks: the node that became the layer, or the whole model."""
    origin = next((o for o in origins if error.layer in o.ops and o.fate is not Fate.FUSED), None)
    return Block(node=origin.name if origin else error.layer, op=origin.op if origin else None,
                 reason=error.reason, advice=error.advice)


def _shortage(error: CapacityError) -> Memory | None:
    """Return what the segment that is shortest of memory asks for."""
    short = [part for part in error.parts if isinstance(part, ShortageError)]
    worst = max(short, default=None, key=lambda part: part.constants + part.maps)
    return None if worst is None else Memory(
        constants=worst.constants, maps=worst.maps, available=worst.available, worst=worst.worst,
        partial=any(part.layer is not None for part in error.parts))


def _nodes(origins: Iterable[Origin], layers: list[LayerInfo], blocks: list[Block],
           config: Config, cycles: int | None) -> list[NodeReport]:
    of_part = {part: layer for layer in layers for part in layer.parts}
    reasons = {(block.node, block.op): block.reason for block in blocks}
    nodes = []
    for origin in origins:
        about = {"node": origin.name, "op": origin.op}
        if (origin.name, origin.op) in reasons:
            about |= {"where": Place.BLOCKED, "why": reasons[origin.name, origin.op]}
        elif origin.ops:
            led = [layer for layer in layers if layer.name in origin.ops]
            about |= _leading(led, config, cycles) if led else _following(
                origin, of_part, complete=cycles is not None)
        else:
            where, why = _FATES[origin.fate]
            about |= {"where": where, "why": why}
        nodes.append(NodeReport(**about))
    return nodes


def _leading(layers: list[LayerInfo], config: Config, total: int | None) -> dict[str, Any]:
    """Return the report of a node that leads steps: the place of the longest, the cost of all."""
    main = max(layers, key=lambda layer: (layer.cycles, layer.macs))
    where, why = _UNITS[Unit(main.unit)]
    if main.obstacle:
        why += f" ({main.obstacle})"
    if main.interleave > 1:
        why += f"; {main.interleave} rows of its input lie side by side"
    if len(layers) > 1:
        why += f"; {len(layers)} steps"
    if main.unit != Unit.HOST:
        why += "".join(f", {layer.op}" for layer in layers if layer.unit == Unit.HOST)
    report = {
        "where": where, "why": why, "layer": main.name, "macs": sum(layer.macs for layer in layers),
        "constant_bytes": _bytes(config) * sum(layer.constant_elements for layer in layers),
        "map_bytes": _bytes(config) * max(layer.map_elements for layer in layers),
    }
    if total is not None and main.unit != Unit.HOST:
        cycles = sum(layer.cycles for layer in layers)
        report |= {"cycles": cycles, "share": cycles / total if total else 0.0,
                   "utilization": report["macs"] / (config.multipliers * max(1, cycles))}
    return report


def _following(origin: Origin, of_part: dict[str, LayerInfo], complete: bool) -> dict[str, Any]:
    """Return the report of a node that leads no step."""
    layer = next((of_part[name] for name in origin.ops if name in of_part), None)
    if layer is not None:
        return {"where": Place.FUSED, "layer": layer.name, "why": _FUSED}
    if origin.fate is Fate.FUSED:
        return {"where": Place.FUSED, "layer": origin.ops[0], "why": _FUSED}
    if complete:
        return {"where": Place.UNUSED, "why": "nobody reads its result"}
    return {"where": Place.UNPLACED, "why": "nothing is wrong with it, but others are blocked"}
