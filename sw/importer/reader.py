"""ONNX model to graph: nodes in order, each handed to the function that knows its operator."""

from collections import Counter
from dataclasses import replace
from typing import Any

from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from systolith.sw.errors import ModelError, Refusal, UnsupportedError
from systolith.sw.importer import (
    activations,
    convolution,
    elementwise,
    joining,
    layout,
    normalization,
    pooling,
    quantization,
    selection,
    transposed,
)
from systolith.sw.importer.builder import Builder
from systolith.sw.importer.check import check_model, input_type, model_inputs
from systolith.sw.importer.constants import fold, initializers
from systolith.sw.importer.hosting import Continuation
from systolith.sw.importer.ledger import Ledger
from systolith.sw.importer.node import Node, RefusedError
from systolith.sw.importer.ports import input_port, output_port
from systolith.sw.importer.values import Activation, Quantization, QuantizedConstant, State, Value
from systolith.sw.ir import Graph, Port
from systolith.sw.origin import Fate
from systolith.sw.passes.verify import verify

__all__ = ["HANDLERS", "import_onnx"]

#: Operator -> function of (builder, node) that returns its first output, or a tuple of outputs.
HANDLERS = {**convolution.HANDLERS, **transposed.HANDLERS, **pooling.HANDLERS,
            **elementwise.HANDLERS, **activations.HANDLERS, **layout.HANDLERS,
            **selection.HANDLERS, **joining.HANDLERS, **normalization.HANDLERS,
            **quantization.HANDLERS}

_DOMAINS = ("", "ai.onnx", "com.microsoft")
#: Operators that tell the scale of their first operand.
_RESCALED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QGemm", "QLinearMatMul")
_STATIC = ("it quantises while it runs", "quantise the model statically, with calibration data")
#: Operators people try, and what to do instead.
_REASONS = {
    "ConvInteger": _STATIC,
    "DynamicQuantizeLinear": _STATIC,
    "MatMulInteger": _STATIC,
}
_UNKNOWN = (
    "the operator is not supported",
    "replace it by supported ones, or cut the model there and compute the rest on the host")


def import_onnx(model: ModelProto, name: str) -> Graph:
    """Turn a quantised ONNX model into a graph.

    Parameters
    ----------
    model : onnx.ModelProto
        Quantised, QDQ or QLinear operators, opset 11 or newer.
    name : str
        What messages and the graph call it: its file.

    Raises
    ------
    ModelError
        If the model is damaged or contradicts itself.
    UnsupportedError
        If nodes cannot be mapped; the message names all of them.
    """
    return _Reader(check_model(model, name), name).read()


class _Reader:
    """One walk over a model."""

    def __init__(self, model: ModelProto, name: str):
        self.model, self.name = model, name
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        #: Values by name; a name without an entry comes from a refused node.
        self.values: dict[str, Value | None] = initializers(model)
        self.problems: list[Refusal] = []
        self.inputs = {info.name: input_type(info, name) for info in model_inputs(model)}
        self.builder = Builder(batch=self._batch())
        self.continuation = Continuation(self.builder)
        self.ledger = Ledger(self.builder)
        self.inferred = {info.name: info for info in model.graph.value_info}
        for input_name, (_, shape, dtype) in self.inputs.items():
            self.values[input_name] = self.builder.add_input(input_name, shape, dtype)
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(info.name for info in model.graph.output)
        self.quantizers = {node.input[0]: node for node in model.graph.node
                           if node.op_type == "QuantizeLinear"}

    def read(self) -> Graph:
        """Return the graph."""
        for proto in self.model.graph.node:
            label = Node(name=proto.name or proto.output[0], op=proto.op_type, inputs=(),
                         opset=self.opsets.get(proto.domain, 1), output=proto.output[0])
            try:
                self._node(proto, label)
            except RefusedError as refused:
                self.problems.append(refused.refusal)
                self.ledger.note(label, Fate.REFUSED)
                self._swallow(proto)
        outputs, unfit = [], []
        for info in self.model.graph.output:
            try:
                outputs += self._output(info)
            except RefusedError as refused:
                unfit.append(refused.refusal)
        tensors, ops, problems = self.builder.finish()
        problems = [*self.problems, *problems, *unfit]
        if problems:
            raise UnsupportedError(self.name, problems, self.ledger.origins)
        if not ops:
            raise ModelError(f"{self.name}: the model computes nothing: it has no outputs; check "
                             "that the right graph was exported")
        inputs = [input_port(name, self.builder.slots[name], shape, dtype)
                  for name, (_, shape, dtype) in self.inputs.items()
                  if self.builder.slots[name].shape]            # else nobody needs its numbers
        graph = Graph(name=self.name, tensors=tensors, ops=ops, inputs=inputs, outputs=outputs,
                      origins=self.ledger.origins)
        verify(graph)
        return graph

    def _batch(self) -> int:
        batches = {batch for batch, _, _ in self.inputs.values()}
        if len(batches) > 1:
            raise ModelError(f"{self.name}: its inputs have different batch sizes: "
                             f"{', '.join(map(str, sorted(batches)))}; export it with one")
        return batches.pop() if batches else 1

    def _node(self, proto: NodeProto, label: Node) -> None:
        """Import one node, or skip it if what it reads was refused."""
        if proto.op_type in _RESCALED:
            self._stand_in(proto.input[0])
        inputs = [self._operand(name) for name in proto.input if name in self.values]
        known = len(inputs) == len(proto.input)
        constant = known and not any(isinstance(value, Activation) for value in inputs)
        if constant and self._fold(proto, inputs):
            self.ledger.note(label, Fate.CONSTANT)
            return
        if proto.domain not in _DOMAINS or proto.op_type not in HANDLERS:
            label.refuse(*_REASONS.get(proto.op_type, _UNKNOWN))
        if not known:
            self.ledger.note(label, Fate.UNKNOWN)
            self._swallow(proto)
            return
        attributes = {a.name: _text(helper.get_attribute_value(a)) for a in proto.attribute}
        node = replace(label, inputs=tuple(inputs), attributes=attributes,
                       outputs=len(proto.output), told=self._told(label))
        if proto.op_type not in quantization.HANDLERS:
            node = node.on(*(self.continuation(label, value) if isinstance(value, Activation)
                             else value for value in inputs))
            self.ledger.went_on()
        found = HANDLERS[proto.op_type](self.builder, node)
        found = found if isinstance(found, tuple) else (found,)
        extra = [name for name in proto.output[len(found):] if self.uses[name]]
        if extra:
            label.refuse(f"its output {extra[0]!r} is used too", "only the first is supported")
        self.ledger.imported(node, found)
        self.values.update((name, value) for name, value in zip(
            proto.output, found, strict=False) if name)

    def _told(self, label: Node) -> Quantization | None:
        reader = self.quantizers.get(label.output)
        if reader is None or self.uses[label.output] != 1:
            return None
        operands = [self.values.get(name) for name in reader.input[1:3]]
        return quantization.told(label, *operands) if len(operands) == 2 and all(operands) else None

    def _swallow(self, proto: NodeProto) -> None:
        """Note the maps that a node reads which is not imported."""
        read = (self.values.get(name) for name in proto.input)
        self.builder.swallowed.update(x.tensor for x in read if isinstance(x, Activation))

    def _stand_in(self, name: str) -> None:
        """Give a refused node's result a map of the inferred shape, if that is known.

        So the nodes behind it are looked at too; the model is refused anyway. Only where the next
        node tells its scale: without, nothing is known of the numbers.
        """
        if name in self.values or name not in self.inferred:
            return
        try:
            batch, shape, dtype = input_type(self.inferred[name], self.name)
        except ModelError:
            return
        if batch == self.builder.batch:
            self.values[name] = self.builder.stand_in(name, shape, dtype)

    def _operand(self, name: str) -> Value | None:
        value = self.values[name]
        if isinstance(value, Activation):
            return replace(value, exclusive=value.exclusive and self.uses[name] == 1)
        return value

    def _fold(self, proto: NodeProto, inputs: list[Value | None]) -> bool:
        """Evaluate a node on constants; False where its handler has to."""
        if proto.op_type in quantization.HANDLERS or proto.domain not in ("", "ai.onnx"):
            return False
        if inputs and isinstance(inputs[0], QuantizedConstant):
            if proto.op_type in ("Identity", "Dropout"):
                self.values[proto.output[0]] = inputs[0]
                return True
            if proto.op_type == "Transpose":
                order = next((list(a.ints) for a in proto.attribute), None)
                self.values[proto.output[0]] = layout.transpose_weights(inputs[0], order)
                return True
        results = fold(self.model, proto, inputs)
        if results is None:
            return False
        self.values.update(zip([name for name in proto.output if name], results, strict=True))
        return True

    def _output(self, info: ValueInfoProto) -> list[Port]:
        """Return the port of an output; none if what should have computed it is refused."""
        if info.name not in self.values:
            return []
        value = self.values[info.name]
        if isinstance(value, Activation) and (
                value.tensor in self.builder.stand_ins or (
                    value.state is State.PENDING and self.builder.slot(value).cell.value is None)):
            return []
        label = Node(name=info.name, op="model output", opset=0, inputs=(), output=info.name)
        port = output_port(label.on(value), self.builder)
        self.ledger.written(label)
        return [port]


def _text(value: Any) -> Any:
    """Return an attribute's value, text instead of bytes."""
    return value.decode() if isinstance(value, bytes) else value
