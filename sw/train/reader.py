"""A float ONNX model to a network that can be trained.

The importer's quantised graph has lost what training needs, so this is a reader of its own; nodes,
windows, layout and constants are the importer's (:mod:`systolith.sw.importer`).
"""

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, NodeProto, helper

from systolith.sw.errors import ModelError, UnsupportedError
from systolith.sw.importer import layout
from systolith.sw.importer.builder import Builder, Map
from systolith.sw.importer.check import input_type, model_inputs
from systolith.sw.importer.constants import fold, initializers
from systolith.sw.importer.geometry import Geometry, read_geometry
from systolith.sw.importer.node import Node as Proto
from systolith.sw.importer.node import RefusedError
from systolith.sw.importer.values import PADDING, Activation, Constant, State, Value
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network, Node, Rectify

__all__ = ["Origin", "Reading", "read_network"]

_LAYOUT = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Pad", "Identity", "Dropout")
_SOFTMAX = ("Softmax", "LogSoftmax")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a parameter stands in the model: ``array.reshape(-1)[places]`` is the initializer."""

    initializer: str
    #: int64 of the initializer's shape.
    places: np.ndarray


@dataclass(frozen=True, slots=True)
class Reading:
    """A network and how its parameters and input stand in the model."""

    network: Network
    origins: dict[str, Origin]
    #: Batchless shape of the model's input.
    input_shape: tuple[int, ...]
    #: Softmax or LogSoftmax that ends the model and is left to the loss, or None.
    softmax: str | None


def read_network(model: ModelProto, name: str) -> Reading:
    """Read a checked float model.

    Parameters
    ----------
    model : onnx.ModelProto
        With shapes inferred.
    name : str
        Its file, for messages.

    Raises
    ------
    ModelError
        If it has not one float input and one output.
    UnsupportedError
        If nodes have no gradient here; the message names all of them.
    """
    return _Reader(model, name).read()


class _Reader:
    """One walk over a model."""

    def __init__(self, model: ModelProto, name: str):
        self.model, self.name = model, name
        inputs = model_inputs(model)
        if len(inputs) != 1 or len(model.graph.output) != 1:
            raise ModelError(f"{name}: it has {len(inputs)} inputs and {len(model.graph.output)} "
                             "outputs: training takes models with one of each")
        batch, shape, dtype = input_type(inputs[0], name)
        if dtype != "float32":
            raise ModelError(f"{name}: its input is {dtype}: training takes float models")
        self.input_shape = shape
        self.builder = Builder(batch=batch)
        hwc = _hwc(shape)
        tensor = inputs[0].name
        self.network = Network(name=name, shapes={tensor: hwc}, nodes=[], input=tensor,
                               output=tensor)
        self.values: dict[str, Value | None] = initializers(model)
        self.stored = set(self.values) - {""}
        self.values[tensor] = _seen(tensor, hwc, len(shape))
        self.origins: dict[str, Origin] = {}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.softmax: str | None = None

    def read(self) -> Reading:
        """Return the network."""
        problems = []
        for proto in self.model.graph.node:
            try:
                self._node(proto)
            except RefusedError as refusal:
                problems.append(str(refusal))
        if problems:
            raise UnsupportedError(self.name, problems)
        result = self.values[self.model.graph.output[0].name]
        if not isinstance(result, Activation):
            raise ModelError(f"{self.name}: its output does not depend on its input")
        self.network.output = result.tensor
        _fuse(self.network)
        return Reading(self.network, self.origins, self.input_shape, self.softmax)

    def _node(self, proto: NodeProto) -> None:
        label = Proto(name=proto.name or proto.output[0], op=proto.op_type, inputs=(),
                      opset=self._opset(proto.domain), output=proto.output[0])
        if any(name not in self.values for name in proto.input):
            return                               # it reads what was refused
        values = [self.values[name] for name in proto.input]
        if not any(isinstance(value, Activation) for value in values):
            results = fold(self.model, proto, values)
            if results is None:
                label.refuse("it cannot be evaluated", "fold it into an initializer")
            self.values.update(zip(proto.output, results, strict=False))
            return
        if self.softmax is not None:
            label.refuse("it follows a Softmax", "only the loss may follow a Softmax")
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        attributes = {key: value.decode() if isinstance(value, bytes) else value
                      for key, value in attributes.items()}
        node = replace(label, inputs=tuple(values), attributes=attributes)
        if proto.op_type in _LAYOUT:
            result = layout.HANDLERS[proto.op_type](self.builder, node)
        elif proto.op_type in _HANDLERS:
            result = _HANDLERS[proto.op_type](self, node, list(proto.input))
        else:
            label.refuse("it has no gradient", "training goes through " + ", ".join(
                sorted((*_HANDLERS, *_LAYOUT))))
        self.values[proto.output[0]] = result

    def _opset(self, domain: str) -> int:
        return next((entry.version for entry in self.model.opset_import
                     if entry.domain == domain), 1)

    # -- operands ----------------------------------------------------------------------------

    def as_map(self, node: Proto) -> Map:
        """Return a node's input as a whole feature map with zeros around it."""
        x = node.activation()
        if len(x.shape) not in (2, 3):
            node.refuse(f"its input has {len(x.shape)} dimensions beside the batch",
                        "2-D operators take 4-D tensors, 1-D operators 3-D tensors")
        hwc = x.elements.reshape(x.shape[0], *([1] if len(x.shape) == 2 else []), *x.shape[1:])
        hwc = hwc.transpose(1, 2, 0)
        inside = (hwc != PADDING).any(axis=2)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not rows.size:
            node.refuse("its input is nothing but padding", "remove the node")
        top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])
        inner = hwc[top:bottom + 1, left:right + 1]
        shape = self.network.shapes[x.tensor]
        if inner.shape != shape or (inner.reshape(-1) != np.arange(math.prod(shape))).any():
            node.refuse("its input was rearranged (Reshape, Transpose...)", "training takes maps "
                        "as (n, c, h, w), and rearrangement only before a fully connected layer")
        pads = (top, left, hwc.shape[0] - 1 - bottom, hwc.shape[1] - 1 - right)
        return Map(x.tensor, shape, pads, len(x.shape))

    def parameter(self, node: Proto, index: int, name: str, places: np.ndarray) -> str:
        """Take an initializer as a parameter, its elements moved to ``places`` of it.

        ``places``: int64 of the initializer's shape, a permutation.
        """
        if name not in self.stored or self.uses[name] > 1 or not isinstance(
                node.operand(index), Constant):
            node.refuse(f"its operand {name!r} is no initializer of its own",
                        "store every layer's parameters as one initializer that no other reads")
        array = node.constant(index, "parameter")
        values = np.empty(array.size)
        values[places.reshape(-1)] = array.reshape(-1)
        self.network.parameters[name] = values
        self.origins[name] = Origin(name, places)
        return name

    def shape_parameter(self, name: str, shape: tuple[int, ...]) -> None:
        """Give a parameter the shape its operation reads it in."""
        self.network.parameters[name] = self.network.parameters[name].reshape(shape)

    def bias(self, node: Proto, index: int, name: str, outputs: int) -> str:
        """Take a bias of one number an output channel."""
        size = node.constant(index, "bias").shape
        if math.prod(size) != outputs:
            node.refuse(f"its bias has shape {list(size)} for {outputs} outputs", "give it one "
                        "number for each output")
        return self.parameter(node, index, name, np.arange(outputs).reshape(size))

    def add(self, kind: type[Node], node: Proto, inputs: tuple[str, ...],
            shape: tuple[int, int, int], **fields) -> str:
        """Add an operation and return the name of its result."""
        self.network.nodes.append(kind(name=node.name, inputs=inputs, output=node.output,
                                       **fields))
        self.network.shapes[node.output] = shape
        return node.output


def _conv(reader: _Reader, node: Proto, names: list[str]) -> Value:
    source = reader.as_map(node)
    array = node.constant(1, "weights")
    if array.ndim != source.rank + 1:
        node.refuse(f"its weights have {array.ndim} dimensions", "correct the model")
    geometry = read_geometry(node, source, array.shape[2:])
    if node.attribute("group", 1) != 1 or geometry.dilation != (1, 1):
        node.refuse("it is grouped or dilated", "training takes dense convolutions")
    outputs, depth = array.shape[:2]
    places = np.arange(array.size).reshape(outputs, *geometry.kernel, depth)
    weights = reader.parameter(node, 1, names[1],
                               places.transpose(0, 3, 1, 2).reshape(array.shape))
    reader.shape_parameter(weights, (outputs, *geometry.kernel, depth))
    bias = reader.bias(node, 2, names[2], outputs) if node.operand(2) is not None else None
    shape = (*geometry.result, outputs)
    name = reader.add(Conv, node, (source.tensor,), shape, kernel=geometry.kernel,
                      stride=geometry.stride, pads=_pads(source, geometry), weights=weights,
                      bias=bias)
    return _seen(name, shape, source.rank)


def _gemm(reader: _Reader, node: Proto, names: list[str]) -> Value:
    for attribute, neutral in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if node.attribute(attribute, neutral) != neutral:
            node.refuse(f"{attribute} is not {neutral:g}", f"set it to {neutral:g}")
    return _dense(reader, node, names, transposed=bool(node.attribute("transB", 0)))


def _matmul(reader: _Reader, node: Proto, names: list[str]) -> Value:
    return _dense(reader, node, names, transposed=False)


def _dense(reader: _Reader, node: Proto, names: list[str], *, transposed: bool) -> Value:
    x = node.activation()
    shape = reader.network.shapes[x.tensor]
    if sorted(x.elements.reshape(-1)) != list(range(math.prod(shape))) or len(x.shape) != 1:
        node.refuse(f"it reads {list(x.shape)} of a map {list(shape)}",
                    "a fully connected layer reads all of a map, flattened")
    array = node.constant(1, "weights")
    outputs, depth = array.shape if transposed else array.shape[::-1]
    if depth != x.elements.size:
        node.refuse(f"its weights are for {depth} inputs, it has {x.elements.size}",
                    "correct the model")
    places = np.arange(outputs)[:, None] * depth + x.elements
    weights = reader.parameter(node, 1, names[1], places if transposed else places.T)
    reader.shape_parameter(weights, (outputs, *shape))
    bias = reader.bias(node, 2, names[2], outputs) if node.operand(2) is not None else None
    name = reader.add(Conv, node, (x.tensor,), (1, 1, outputs), kernel=shape[:2], weights=weights,
                      bias=bias)
    return _seen(name, (1, 1, outputs), 1)


def _max_pool(reader: _Reader, node: Proto, names: list[str]) -> Value:
    source = reader.as_map(node)
    geometry = _pool(node, source, node.attribute("kernel_shape"))
    if any(source.pads):
        node.refuse("a Pad before it adds zeros", "put the padding into the MaxPool's own pads")
    return _pooled(reader, MaxPool, node, source, geometry)


def _average_pool(reader: _Reader, node: Proto, names: list[str]) -> Value:
    source = reader.as_map(node)
    geometry = _pool(node, source, node.attribute("kernel_shape"))
    if any(geometry.pads) and not node.attribute("count_include_pad", 0):
        node.refuse("it leaves its padding out of the average", "set count_include_pad=1, or pool "
                    "without padding")
    return _pooled(reader, AveragePool, node, source, geometry)


def _global_average(reader: _Reader, node: Proto, names: list[str]) -> Value:
    source = reader.as_map(node)
    kernel = tuple(source.shape[i] + source.pads[i] + source.pads[i + 2] for i in (0, 1))
    return _pooled(reader, AveragePool, node, source,
                   Geometry(kernel, (1, 1), (1, 1), (0, 0, 0, 0), (0, 0), (1, 1)))


def _mean(reader: _Reader, node: Proto, names: list[str]) -> Value:
    rank = len(node.activation().shape) + 1
    axes = node.integers(1, "axes", "list of axes") or []
    if sorted(axis % rank for axis in axes) != list(range(2, rank)):
        node.refuse("it reduces other axes than the spatial ones",
                    "training takes the mean over height and width")
    result = _global_average(reader, node, names)
    return result if node.attribute("keepdims", 1) else result.rearranged(
        result.elements.reshape(-1))


def _pooled(reader: _Reader, kind: type[Node], node: Proto, source: Map,
            geometry: Geometry) -> Value:
    shape = (*geometry.result, source.shape[2])
    name = reader.add(kind, node, (source.tensor,), shape, kernel=geometry.kernel,
                      stride=geometry.stride, pads=_pads(source, geometry))
    return _seen(name, shape, source.rank)


def _add(reader: _Reader, node: Proto, names: list[str]) -> Value:
    constants = [i for i in (0, 1) if isinstance(node.operand(i), Constant)]
    if constants:
        return _late_bias(reader, node, names, constants[0])
    a, b = node.activation(0), node.activation(1)
    shapes = reader.network.shapes
    if shapes[a.tensor] != shapes[b.tensor] or not np.array_equal(a.elements, b.elements) or (
            a.elements == PADDING).any():
        node.refuse("it adds tensors of different shape or order", "training adds equal maps")
    name = reader.add(Add, node, (a.tensor, b.tensor), shapes[a.tensor])
    return replace(a, tensor=name)


def _late_bias(reader: _Reader, node: Proto, names: list[str], index: int) -> Value:
    """Give the bias of a MatMul to the product before it."""
    x = node.activation(1 - index)
    before = reader.network.producer(x.tensor)
    single = reader.uses[names[1 - index]] == 1 and not reader.network.consumers(x.tensor)
    if not (isinstance(before, Conv) and before.bias is None and single and len(x.shape) == 1):
        node.refuse("it adds a constant", "only the bias of a MatMul may be added by itself")
    bias = reader.bias(node, index, names[index], len(x.elements))
    nodes = reader.network.nodes
    nodes[nodes.index(before)] = replace(before, bias=bias)
    return x


def _relu(reader: _Reader, node: Proto, names: list[str]) -> Value:
    x = node.activation()
    return replace(x, tensor=reader.add(Rectify, node, (x.tensor,),
                                        reader.network.shapes[x.tensor]))


def _softmax(reader: _Reader, node: Proto, names: list[str]) -> Value:
    if node.attribute("axis", -1) not in (-1, 1) or len(node.activation().shape) != 1:
        node.refuse("it is not over all logits of a sample", "give the loss a vector of logits")
    reader.softmax = node.name
    return node.activation()


_HANDLERS = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul, "MaxPool": _max_pool,
             "AveragePool": _average_pool, "GlobalAveragePool": _global_average,
             "ReduceMean": _mean, "Add": _add, "Relu": _relu,
             **dict.fromkeys(_SOFTMAX, _softmax)}


def _hwc(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of (c, h, w), (c, l) or (n,)."""
    channels, *spatial = shape
    return (*([1] * (2 - len(spatial))), *spatial, channels)


def _seen(tensor: str, hwc: tuple[int, int, int], rank: int) -> Activation:
    """Return a feature map as ONNX sees it: (c, h, w), (c, l) or (c,)."""
    elements = np.arange(math.prod(hwc)).reshape(hwc).transpose(2, 0, 1)
    return Activation(tensor, elements.reshape(hwc[2], *hwc[3 - rank:2]), State.REAL, "float32")


def _pool(node: Proto, source: Map, kernel: list[int] | None) -> Geometry:
    if not kernel:
        node.refuse("it has no kernel_shape", "correct the model")
    geometry = read_geometry(node, source, kernel)
    if geometry.dilation != (1, 1) or any(geometry.excess):
        node.refuse("it is dilated, or its ceil_mode adds windows", "pool without")
    return geometry


def _pads(source: Map, geometry: Geometry) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(source.pads, geometry.pads, strict=True))


def _fuse(network: Network) -> None:
    """Let convolutions and additions take up the ReLU behind them."""
    for relu in [node for node in network.nodes if isinstance(node, Rectify)]:
        before = network.producer(relu.x)
        if (isinstance(before, Conv | Add) and network.consumers(relu.x) == [relu]
                and network.output != relu.x):
            place = network.nodes.index(before)
            network.nodes[place] = replace(before, output=relu.output, rectify=True)
            network.nodes.remove(relu)
            del network.shapes[relu.x]
