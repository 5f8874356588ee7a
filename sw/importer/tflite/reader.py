"""TFLite model to graph: operators in order, each handed to the function that knows its kind."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from systolith.sw.errors import ModelError, Refusal, UnsupportedError
from systolith.sw.importer.builder import Builder
from systolith.sw.importer.ledger import Ledger
from systolith.sw.importer.node import RefusedError
from systolith.sw.importer.ports import input_port, output_port
from systolith.sw.importer.quantization import OFFSETS
from systolith.sw.importer.tflite import (
    activations,
    convolution,
    elementwise,
    hosting,
    joining,
    layout,
    pooling,
    quantization,
    selection,
    shapes,
    tables,
)
from systolith.sw.importer.tflite.dilation import joined
from systolith.sw.importer.tflite.file import Operator, TensorInfo, parse
from systolith.sw.importer.tflite.operation import LARGEST, Operation
from systolith.sw.importer.values import (
    Activation,
    Constant,
    Quantization,
    QuantizedConstant,
    State,
    Value,
)
from systolith.sw.ir import Graph, HostStep, Port
from systolith.sw.origin import Fate
from systolith.sw.passes.verify import verify

__all__ = ["HANDLERS", "import_tflite"]

#: Operator -> function of (builder, operation) that returns the value of its result.
HANDLERS = {**convolution.HANDLERS, **pooling.HANDLERS, **elementwise.HANDLERS,
            **activations.HANDLERS, **quantization.HANDLERS, **layout.HANDLERS,
            **selection.HANDLERS, **joining.HANDLERS, **shapes.HANDLERS, **tables.HANDLERS,
            **hosting.HANDLERS}

#: Operators people try, and what to do instead.
_REASONS = {
    "ELU": ("it has no integer kernel in TFLite: the converter leaves it float",
            "train with RELU, LEAKY_RELU, GELU or HARD_SWISH"),
}
_UNKNOWN = (
    "the operator is not supported",
    "replace it by supported ones, or cut the model there and compute the rest on the host")


def import_tflite(data: bytes, name: str) -> Graph:
    """Turn a TFLite int8 model into a graph that computes what the reference kernels do.

    Parameters
    ----------
    data : bytes
        The ``.tflite`` file.
    name : str
        What messages and the graph call it: its file.

    Raises
    ------
    ModelError
        If the file is damaged or contradicts itself.
    UnsupportedError
        If operators cannot be mapped; the message names all of them.
    """
    return _Reader(data, name).read()


class _Reader:
    """One walk over a model."""

    def __init__(self, data: bytes, name: str):
        self.name = name
        self.file = joined(parse(data, name))
        #: Values by tensor number; a number without an entry comes from a refused operator.
        self.values: dict[int, Value] = {
            i: _constant(tensor) for i, tensor in enumerate(self.file.tensors)
            if tensor.data is not None}
        #: Operators by the tensor they write, where the host would run them at the model's end.
        self.hosted: dict[int, Operation] = {}
        self.problems: list[Refusal] = []
        #: Tensors that refused operators should write, or those behind them.
        self.blocked: set[int] = set()
        self.uses = Counter(i for op in self.file.operators for i in op.inputs)
        self.uses.update(self.file.outputs)
        self.builder = Builder(batch=self._batch(), channels_last=True)
        self.ledger = Ledger(self.builder)
        for i in self.file.inputs:
            self.values[i] = self._input(self.file.tensors[i])

    def read(self) -> Graph:
        """Return the graph."""
        for operator in self.file.operators:
            node = self._label(operator)
            try:
                self._operator(operator, node)
            except RefusedError as refused:
                self.problems.append(refused.refusal)
                self.ledger.note(node, Fate.REFUSED)
                self.blocked.update(operator.outputs)
        outputs = []
        for i in self.file.outputs:
            try:
                outputs += self._output(i)
            except RefusedError as refused:
                self.problems.append(refused.refusal)
        tensors, ops, problems = self.builder.finish()
        problems = [*self.problems, *problems]
        if problems:
            raise UnsupportedError(self.name, problems, self.ledger.origins)
        if not ops or not self.file.operators:
            raise ModelError(f"{self.name}: the model computes nothing: it has no operators or no "
                             "outputs; check that the right function was converted")
        inputs = [self._input_port(tensor) for tensor in map(
            self.file.tensors.__getitem__, self.file.inputs)
            if self.builder.slots[tensor.name].shape]           # else nobody needs its numbers
        graph = Graph(name=self.name, tensors=tensors, ops=ops, inputs=inputs, outputs=outputs,
                      origins=self.ledger.origins)
        verify(graph)
        return graph

    def _batch(self) -> int:
        batches = {self.file.tensors[i].shape[:1] for i in self.file.inputs}
        if len(batches) != 1:
            raise ModelError(f"{self.name}: it has no inputs, or inputs with different batch "
                             "sizes: convert it with one")
        return max(1, *batches.pop(), 1)

    def _input(self, tensor: TensorInfo) -> Activation:
        what = f"{self.name}: input {tensor.name!r}"
        if tensor.dtype not in ("float32", "int8", "uint8"):
            raise ModelError(f"{what} is {tensor.dtype}: convert the model with a float, int8 or "
                             "uint8 input")
        shape = tensor.shape[1:]
        if not shape or min(shape) < 1 or math.prod(shape) > LARGEST:
            raise ModelError(f"{what} has the shape {list(tensor.shape)}: it needs the batch "
                             "first, fixed positive sizes behind it, and at most "
                             f"{LARGEST} elements")
        if tensor.name in self.builder.slots:
            raise ModelError(f"{self.name}: two inputs have the name {tensor.name!r}: convert the "
                             "model with different ones")
        x = self.builder.add_input(tensor.name, shape, tensor.dtype)
        slot = self.builder.slot(x)
        if tensor.dtype != "float32":
            zero_point = OFFSETS[tensor.dtype] + (
                int(tensor.zero_point[0]) if tensor.scale.size == 1 else 1 << 8)
            if not (-128 <= zero_point <= 127 and tensor.scale[0] > 0):
                raise ModelError(f"{what} is {tensor.dtype} without one positive scale and a zero "
                                 "point of its type: convert the model with full integer "
                                 "quantisation to int8")
            slot.cell.value = Quantization(float(tensor.scale[0]), zero_point)
        return x

    def _input_port(self, tensor: TensorInfo) -> Port:
        port = input_port(tensor.name, self.builder.slots[tensor.name], tensor.shape[1:],
                          tensor.dtype)
        if tensor.dtype != "float32":
            return port
        return replace(port, steps=(HostStep(kind="quantize", attributes={"ties_away": 1}),))

    def _label(self, operator: Operator) -> Operation:
        """Return an operator without its operands."""
        result = self.file.tensors[operator.outputs[0]]
        return Operation(
            name=result.name.split(";")[0] or f"tensor {operator.outputs[0]}", op=operator.kind,
            opset=0, inputs=(), output=result.name, attributes=operator.options, result=result,
            tensors=tuple(None if i is None else self.file.tensors[i] for i in operator.inputs))

    def _operator(self, operator: Operator, node: Operation) -> None:
        """Import one operator, or skip it if what it reads was refused."""
        if operator.kind not in HANDLERS:
            node.refuse(*_REASONS.get(operator.kind, _UNKNOWN))
        missing = [i for i in operator.inputs if i is not None and i not in self.values]
        for i in self.blocked.intersection(missing):
            self._stand_in(node, i)
        if any(i not in self.values for i in missing):
            self.ledger.note(node, Fate.UNKNOWN)
            if self.blocked.intersection(missing):
                self.blocked.update(operator.outputs)
            return
        if operator.kind != "DEQUANTIZE":
            self._go_on(operator)
            self.ledger.went_on()
        node = replace(node, inputs=tuple(map(self._operand, operator.inputs)),
                       outputs=len(operator.outputs))
        if not node.inputs or node.inputs[0] is None:
            node.refuse("it lacks its first operand", "convert the model again")
        found = HANDLERS[operator.kind](self.builder, node)
        found = found if isinstance(found, tuple) else (found,)
        if any(self.uses[i] for i in operator.outputs[len(found):]):
            node.refuse("its second output is used too", "only the first is supported")
        for i, value in zip(operator.outputs, found, strict=False):
            shape = self.file.tensors[i].shape
            if i != operator.outputs[0] and (
                    node.quantization_of(self.file.tensors[i]) != node.quantization()):
                node.refuse("its results have different scales", "convert the model again")
            if isinstance(value, Activation) and not self._agrees(i, value.shape):
                node.refuse(f"its result has the shape {list(shape)} in the file, but it computes "
                            f"{['n', *value.shape]}", "convert the model again")
            self.values[i] = value
            if isinstance(value, Activation) and value.state is State.HOST:
                self.hosted[i] = node
        self.ledger.imported(node, found)

    def _agrees(self, i: int, shape: tuple[int, ...]) -> bool:
        """Tell whether a batchless shape can be that of a tensor of the file."""
        known = self.file.tensors[i].signature[1:]
        return len(known) == len(shape) and all(
            size in (-1, n) for size, n in zip(known, shape, strict=True))

    def _stand_in(self, node: Operation, i: int) -> None:
        """Give a refused operator's result a map of the file's shape and scale, if it is sound.

        So the operators behind it are looked at too; the model is refused anyway.
        """
        tensor = self.file.tensors[i]
        shape = tensor.shape[1:]
        if tensor.dtype != "int8" or not shape or min(shape) < 1 or (
                math.prod(shape) > LARGEST or tensor.shape[0] != self.builder.batch):
            return
        try:
            quantization = node.quantization_of(tensor)
        except RefusedError:
            return
        x = self.values[i] = self.builder.stand_in(tensor.name, shape, "int8")
        self.builder.slot(x).cell.value = quantization

    def _go_on(self, operator: Operator) -> None:
        """Make operations of what the host runs and this operator reads: it is not the end."""
        for i in set(operator.inputs) & self.hosted.keys():
            node, value = self.hosted.pop(i), self.values[i]
            if value.dtype == "int8":
                self.values[i] = hosting.go_on(self.builder, node, value)

    def _operand(self, i: int | None) -> Value | None:
        value = None if i is None else self.values[i]
        if isinstance(value, Activation):
            return replace(value, exclusive=value.exclusive and self.uses[i] == 1)
        return value

    def _output(self, i: int) -> list[Port]:
        """Return the port of an output; none if a refused operator should have computed it."""
        if i not in self.values:
            return []
        tensor, value = self.file.tensors[i], self.values[i]
        if isinstance(value, Activation) and value.tensor in self.builder.stand_ins:
            return []
        label = Operation(name=tensor.name, op="model output", opset=0, inputs=(value,),
                          output=tensor.name, tensors=(tensor,), result=tensor)
        if isinstance(value, Activation) and value.state is not State.RAW:
            self.builder.pin_naturally(label, value)
        port = output_port(label, self.builder)
        self.ledger.written(label)
        return [port]


def _constant(tensor: TensorInfo) -> Value:
    if tensor.scale.size and tensor.dtype in ("int8", "uint8", "int16", "int32"):
        return QuantizedConstant(tensor.data, tensor.scale, tensor.zero_point, tensor.axis)
    return Constant(np.asarray(tensor.data))
