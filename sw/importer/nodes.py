"""The nodes of a model file, whatever its format: names, operators, who reads whose results."""

from collections.abc import Iterable
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

__all__ = ["ModelNode", "label_of", "model_nodes", "onnx_nodes"]


@dataclass(frozen=True, slots=True)
class ModelNode:
    """A node of a model file."""

    #: What messages and the graph's operations call it.
    name: str
    operator: str
    #: Values it reads that are no constants.
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: It reads the model's inputs; it writes one of its outputs.
    first: bool
    last: bool


def label_of(proto: NodeProto) -> str:
    """Return what messages call an ONNX node."""
    return proto.name or proto.output[0]


def onnx_nodes(model: ModelProto) -> list[ModelNode]:
    """Return the nodes of an ONNX model, in order."""
    return model_nodes(((label_of(node), node.op_type, list(node.input), list(node.output))
                   for node in model.graph.node),
                  {"", *(tensor.name for tensor in model.graph.initializer)},
                  {info.name for info in model.graph.input},
                  {info.name for info in model.graph.output})


def model_nodes(found: Iterable[tuple[str, str, list[str], list[str]]], constants: set[str],
           inputs: set[str], outputs: set[str]) -> list[ModelNode]:
    """Return nodes from their (name, operator, names read, names written), in order.

    ``constants``, ``inputs`` and ``outputs`` are those of the model.
    """
    nodes = []
    for name, operator, reads, writes in found:
        variable = tuple(value for value in reads if value not in constants)
        if not variable:
            constants.update(writes)
        nodes.append(ModelNode(name, operator, variable, tuple(writes),
                               first=any(value in inputs for value in variable),
                               last=any(value in outputs for value in writes)))
    return nodes
