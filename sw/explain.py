"""What becomes of a model on a target: of every operator where it runs, why, and what it costs.

Cycles are those of the compiled program. A model that cannot run is explained too: with every
node that stands in the way, or with what it would need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import ModelProto

from systolith.hw.config import Config
from systolith.sw.demand import Demand, demands
from systolith.sw.errors import CapacityError, ModelError, Problem, UnsupportedError
from systolith.sw.importer.check import first_line, input_type, model_inputs
from systolith.sw.importer.load import is_quantized, open_onnx, quantized
from systolith.sw.importer.nodes import ModelNode, onnx_nodes
from systolith.sw.importer.reader import import_onnx
from systolith.sw.ir import Graph, HostOp, Op
from systolith.sw.partition import compile_network, partition
from systolith.sw.pipeline import Pipeline
from systolith.sw.placement import Place, place_of_node, place_of_op
from systolith.sw.program import Program

__all__ = ["Explanation", "Memory", "OperatorReport", "explain", "explain_program"]

#: Images of noise that stand for calibration data.
_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorReport:
    """An operator of the model; costs stand with the operation that leads its step."""

    name: str
    operator: str
    place: str
    why: str
    #: Name of the step it is done in.
    step: str = ""
    macs: int | None = None
    cycles: int | None = None
    #: Of all cycles, and of the array's multiply-accumulates in these cycles.
    share: float | None = None
    utilization: float | None = None
    #: Bytes of the step's weights and parameters, and of the maps in memory during it.
    constant_bytes: int | None = None
    map_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a segment needs of memory, and the step at which maps need most."""

    segment: str
    constant_bytes: int
    map_bytes: int
    available_bytes: int
    worst_step: str
    largest_constants: str


@dataclass(slots=True, kw_only=True)
class Explanation:
    """A model on a target."""

    model: str
    target: str
    operators: list[OperatorReport]
    #: Nodes that cannot be mapped, or steps that the target cannot run.
    problems: list[Problem] = field(default_factory=list)
    #: Why it does not fit, one sentence a segment.
    shortages: list[str] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cycles: int | None = None
    segments: int = 0
    #: Of the error that compiling ends with; 0: it runs.
    exit_code: int = 0

    @property
    def runs(self) -> bool:
        """Whether the model can be compiled for the target."""
        return self.exit_code == 0


def explain(path: str | Path, config: Config,
            calibration: np.ndarray | Mapping[str, np.ndarray] | None = None) -> Explanation:
    """Explain a model file; a float model without calibration data is quantised on noise.

    Parameters
    ----------
    path : path
        An ``.onnx`` or ``.tflite`` file.
    config : Config
        The target.
    calibration : float32[n, ...] or mapping of input name to array, optional
        As :func:`systolith.sw.importer.load.load_model` takes it.

    Raises
    ------
    ModelError
        If the file cannot be read.
    DataError
        If the calibration data are unusable.
    """
    path, notes = Path(path), []
    found = Explanation(model=str(path), target=config.describe(), operators=[], notes=notes)
    if path.suffix.lower() == ".tflite":
        nodes, read = _tflite(path, calibration)
    else:
        model = open_onnx(path)
        if calibration is None and not is_quantized(model):
            calibration = _noise(model, str(path))
            notes.append("The model is float and was quantised on noise: costs do not depend on "
                         "the numbers, answers do. Compile it with --calibrate.")
        model = quantized(model, str(path), calibration)
        nodes = onnx_nodes(model)

        def read() -> Graph:
            return import_onnx(model, str(path))
    try:
        graph = read()
    except UnsupportedError as error:
        found.problems, found.exit_code = list(error.problems), error.exit_code
        found.operators = _blocked(nodes, error.problems)
        return found
    _compiled(found, nodes, graph, config)
    return found


def explain_program(program: Program | Pipeline, name: str) -> Explanation:
    """Explain a compiled program: its steps and their cycles."""
    total = program.predicted_cycles
    rows = [OperatorReport(
        name=layer.name, operator=layer.op, step=layer.name, why="",
        place=Place.HOST if layer.op.endswith("on the host") else Place.ARRAY,
        **_costs(layer.macs, layer.cycles, total, program.config)) for layer in program.layers]
    size = program.config.operand_bits // 8
    return Explanation(
        model=name, target=program.config.describe(), operators=rows, cycles=total,
        segments=len(program.programs), memory=[Memory(
            segment=part.name, constant_bytes=part.constant_elements * size,
            map_bytes=part.map_elements * size, available_bytes=program.config.memory_bytes,
            worst_step="", largest_constants="") for part in program.programs],
        notes=["A compiled program knows its steps only: explain the model for its nodes."])


def _tflite(path: Path, calibration: object):
    """Return the nodes of a TFLite file, and what reads it."""
    from systolith.sw.importer.tflite import import_tflite  # some hundred generated modules
    from systolith.sw.importer.tflite.file import parse
    from systolith.sw.importer.tflite.nodes import tflite_nodes

    if calibration is not None:
        raise ModelError(f"{path}: a TFLite model is quantised when it is converted: leave the "
                         "calibration data out")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or first_line(error)}") from error
    return tflite_nodes(parse(data, str(path))), lambda: import_tflite(data, str(path))


def _noise(model: ModelProto, name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {info.name: rng.normal(size=(_IMAGES, *input_type(info, name)[1])).astype(np.float32)
            for info in model_inputs(model)}


def _blocked(nodes: Sequence[ModelNode], problems: Sequence[Problem]) -> list[OperatorReport]:
    """Return the operators of a model that cannot be mapped."""
    reasons = {problem.node: problem for problem in problems}
    behind: set[str] = set()
    rows = []
    for node in nodes:
        problem = reasons.get(node.name)
        if problem is not None and problem.operator == node.operator:
            place, why = Place.BLOCKED, problem.reason
        elif behind.intersection(node.inputs):
            place, why = Place.UNKNOWN, "reads a blocked node's result"
        else:
            place, why = Place.MAPPABLE, ""
        if place is not Place.MAPPABLE:
            behind.update(node.outputs)
        rows.append(OperatorReport(name=node.name, operator=node.operator, place=place, why=why))
    return rows


def _compiled(found: Explanation, nodes: Sequence[ModelNode], graph: Graph,
              config: Config) -> None:
    """Fill in what the compiler says of a graph."""
    of_op: dict[str, Demand] = {}
    for stage in partition(graph):
        if isinstance(stage, HostOp):
            continue
        found.segments += 1
        own = demands(stage, config)
        of_op |= {op.name: demand for demand in own for op in demand.step.ops}
        found.memory.append(_memory(stage, own, config))
        found.problems += [demand.problem for demand in own if demand.problem]
    program = None
    try:
        program = compile_network(graph, config)
        found.cycles = program.predicted_cycles
    except CapacityError as error:
        found.exit_code = error.exit_code
        if not found.problems:
            found.shortages.append(str(error))
    layers = {layer.name: layer for layer in program.layers} if program else {}

    def report(op: Op) -> OperatorReport:
        if isinstance(op, HostOp):
            return OperatorReport(name=op.name, operator=op.kind, place=Place.HOST, step=op.name,
                                  why="between two programs, on the int8 maps")
        if op.name not in of_op:
            return OperatorReport(name=op.name, operator=op.kind, place=Place.FREE,
                                  why="nobody reads its result: left out")
        demand = of_op[op.name]
        place, why = place_of_op(op, demand, config)
        step, costs = demand.step.core.name, {}
        if op is demand.step.core:
            costs = {"constant_bytes": demand.constants if demand.plans else None,
                     "map_bytes": demand.maps}
            if step in layers:
                costs |= _costs(layers[step].macs, layers[step].cycles, found.cycles, config)
        return OperatorReport(name=op.name, operator=op.kind, place=place, why=why, step=step,
                              **costs)

    found.operators = _rows(nodes, graph, report)


def _rows(nodes: Sequence[ModelNode], graph: Graph, report) -> list[OperatorReport]:
    """Return a row for every operation, and for every node that has none."""
    labels = {node.name for node in nodes}
    owned: dict[str, list[Op]] = {}
    for op in graph.ops:
        label = op.name        # a node's further operations have a suffix: ".2", ".sigmoid"
        while label not in labels and "." in label:
            label = label.rpartition(".")[0]
        owned.setdefault(label if label in labels else "", []).append(op)
    rows, leader = [], {}
    for node in nodes:
        ops = owned.pop(node.name, [])
        host = next((leader[value] for value in node.inputs if value in leader), "")
        if ops:
            host = ops[-1].name
            rows += map(report, ops)
        else:
            place, why = place_of_node(node, host)
            rows.append(OperatorReport(name=node.name, operator=node.operator, place=place,
                                       why=why, step=host if place is Place.FUSED else ""))
        leader.update(dict.fromkeys(node.outputs, host))
    return rows + [report(op) for ops in owned.values() for op in ops]


def _costs(macs: int, cycles: int, total: int, config: Config) -> dict[str, float]:
    return {"macs": macs, "cycles": cycles, "share": cycles / total if total else 0.0,
            "utilization": macs / (config.multipliers * cycles) if cycles else 0.0}


def _memory(graph: Graph, own: Sequence[Demand], config: Config) -> Memory:
    worst = max(own, key=lambda demand: demand.maps)
    largest = max(own, key=lambda demand: demand.constants)
    return Memory(segment=graph.name, constant_bytes=sum(d.constants for d in own),
                  map_bytes=worst.maps, available_bytes=config.memory_bytes,
                  worst_step=worst.step.core.name, largest_constants=largest.step.core.name)
