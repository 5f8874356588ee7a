"""ONNX's test case of one node, made into a quantised model that the accelerator can run.

The first operand is the map, and for what joins maps every operand of the same batch; all others
become constants. Float operands are rounded to 8 bits, and what is expected is the reference's
answer to the rounded operands: so nothing but the accelerator's own arithmetic is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["NodeModel", "node_model"]

#: The first opset whose QuantizeLinear, DequantizeLinear and Clip take int8.
_OPSET = 13
#: Operators of several maps.
_JOINING = ("Add", "Concat", "Mul", "Sub")
#: Operators whose second operand are weights.
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class NodeModel:
    """A model around one node, what to feed it and what it has to answer."""

    model: ModelProto
    inputs: list[np.ndarray]
    #: The reference's answers to the rounded operands.
    expected: list[np.ndarray]
    #: Quantisation step of each output; 0 for integers and what the node itself quantises.
    steps: list[float]


@dataclass(frozen=True, slots=True)
class _Grid:
    """An int8 quantisation."""

    scale: np.float32
    zero_point: int

    @classmethod
    def of(cls, values: np.ndarray) -> "_Grid":
        """Return the grid of 256 levels from the least to the largest value, zero among them."""
        low = float(np.min(values, initial=0))
        high = float(np.max(values, initial=0))
        scale = np.float32((high - low) / 255) if 0 < high - low < np.inf else np.float32(1)
        return cls(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))

    @classmethod
    def symmetric(cls, values: np.ndarray) -> "_Grid":
        """Return the grid from -127 to 127 around zero."""
        largest = float(np.abs(values).max(initial=0))
        return cls(np.float32(largest / 127) if 0 < largest < np.inf else np.float32(1), 0)

    def levels(self, values: np.ndarray) -> np.ndarray:
        """Return the nearest levels, int8."""
        return np.clip(np.rint(values / self.scale) + self.zero_point, -128, 127).astype(np.int8)

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Return the nearest numbers on the grid, float32."""
        return ((self.levels(values).astype(np.int32) - self.zero_point)
                * self.scale).astype(np.float32)


@dataclass(slots=True)
class _Nodes:
    """The nodes and constants of a model under construction."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def clip(self, source: str, result: str) -> None:
        """Add a Clip without bounds: a layer that leaves a map as it is."""
        self.nodes.append(helper.make_node("Clip", [source], [result]))

    def dequantize(self, source: str, result: str, grid: _Grid) -> None:
        """Add a DequantizeLinear."""
        self.nodes.append(helper.make_node(
            "DequantizeLinear", [source, *self._parameters(source, grid)], [result]))

    def quantize(self, source: str, result: str, grid: _Grid) -> None:
        """Add a QuantizeLinear and a DequantizeLinear."""
        level = f"{result}.levels"
        self.nodes.append(helper.make_node(
            "QuantizeLinear", [source, *self._parameters(level, grid)], [level]))
        self.dequantize(level, result, grid)

    def _parameters(self, name: str, grid: _Grid) -> list[str]:
        values = {f"{name}.scale": np.array(grid.scale),
                  f"{name}.zero_point": np.array(grid.zero_point, np.int8)}
        self.constants |= values
        return list(values)


def node_model(model: ModelProto, operands: Sequence[np.ndarray],
               answers: Sequence[np.ndarray]) -> NodeModel:
    """Return the model of a test case.

    Before the node stands a Clip without bounds (behind it, if the node is a QuantizeLinear), so
    that something runs on the array where the node alone would cost nothing.

    Parameters
    ----------
    model : onnx.ModelProto
        A graph of one node, all operands inputs.
    operands, answers : sequence of arrays
        The case's data.
    """
    model = _recent(model)
    node = model.graph.node[0]
    values = {info.name: numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
              for info, value in zip(model.graph.input, operands, strict=True)}
    maps = _maps(node, values)
    new, rounded, renamed = _Nodes(), dict(values), {}
    first = next(iter(values.values()))
    real = _is_float(first) and node.op_type != "QuantizeLinear"
    integer = isinstance(first, np.ndarray) and first.dtype.name in ("int8", "uint8")
    for name, value in values.items():
        if name in maps and real:
            grid = _Grid.of(value)
            rounded[name] = grid.rounded(value)
            new.quantize(name, f"{name}.real", grid)
            new.clip(f"{name}.real", f"{name}.map")
            renamed[name] = f"{name}.map"
        elif name in maps and integer:
            new.clip(name, f"{name}.map")
            renamed[name] = f"{name}.map"
        elif name not in maps and real and node.op_type in _WEIGHTED and name == node.input[1]:
            grid = _Grid.symmetric(value)
            rounded[name] = grid.rounded(value)
            new.constants[f"{name}.levels"] = grid.levels(value)
            new.dequantize(f"{name}.levels", name, grid)
        elif name not in maps:
            new.constants[name] = value
    expected = ReferenceEvaluator(model).run(None, rounded) if real else [
        numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
        for value in answers]
    steps = _outputs(new, node, renamed, expected, [
        _Grid.of(values[name]) for name in maps if real])
    graph = helper.make_graph(
        new.nodes, "node", [info for info in model.graph.input if info.name in maps],
        list(model.graph.output),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in
         new.constants.items()])
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return NodeModel(made, [values[name] for name in maps], expected, steps)


def _recent(model: ModelProto) -> ModelProto:
    """Return the model in an opset whose Clip takes integers, if the node means the same there."""
    operator, version = model.graph.node[0].op_type, model.opset_import[0].version
    if version >= _OPSET or (
            defs.get_schema(operator, _OPSET).since_version
            != defs.get_schema(operator, version).since_version):
        return model
    recent = ModelProto()
    recent.CopyFrom(model)
    recent.opset_import[0].version = _OPSET
    return recent


def _maps(node: NodeProto, values: dict[str, np.ndarray]) -> list[str]:
    """Return the names of the operands that are maps."""
    first, *others = values
    if node.op_type not in _JOINING:
        return [first]
    shape = values[first].shape
    return [first] + [name for name in others if values[name].ndim == len(shape)
                      and values[name].shape[:1] == shape[:1]]


def _outputs(new: _Nodes, node: NodeProto, renamed: dict[str, str],
             expected: Sequence[np.ndarray], grids: list[_Grid]) -> list[float]:
    """Add the node and what quantises its results; return the step of each output.

    A result that lies on the only map's grid shares it, as quantisers have it.
    """
    steps, results, behind = [], [], _Nodes(constants=new.constants)
    for name, value in zip(filter(None, node.output), expected, strict=True):
        grid = None
        if grids and _is_float(value):
            grid = _Grid.of(value)
            if len(grids) == 1 and np.array_equal(grids[0].rounded(value), value):
                grid = grids[0]
            behind.quantize(f"{name}.real", name, grid)
        clipped = node.op_type == "QuantizeLinear" and value.dtype.name in ("int8", "uint8")
        if clipped:
            behind.clip(f"{name}.real", name)
        steps.append(float(grid.scale) if grid else 0.0)
        results.append(f"{name}.real" if grid or clipped else name)
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(renamed.get(name, name) for name in node.input)
    names = iter(results)
    copy.output.extend(next(names) if name else "" for name in node.output)
    new.nodes += [copy, *behind.nodes]
    return steps


def _is_float(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float32
