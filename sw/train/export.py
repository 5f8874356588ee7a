"""A trained network as a float ONNX model, to run anywhere or to be quantised for inference."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network, Node

__all__ = ["to_onnx"]

_OPSET = 17


def to_onnx(network: Network, parameters: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Return the network with these parameters.

    Maps are (n, c, h, w); a fully connected layer is a convolution, so the output is (n, k, 1, 1)
    flattened to (n, k) where it is a vector.

    Parameters
    ----------
    network : Network
        The operations.
    parameters : mapping of name to float array
        As the network has them.
    """
    nodes, initializers = [], []
    for node in network.nodes:
        inputs, kind, attributes = list(node.inputs), "Relu", {}
        if isinstance(node, Conv | MaxPool | AveragePool):
            kind = {Conv: "Conv", MaxPool: "MaxPool", AveragePool: "AveragePool"}[type(node)]
            attributes = {"kernel_shape": node.kernel, "strides": node.stride, "pads": node.pads}
        if isinstance(node, AveragePool):
            attributes["count_include_pad"] = 1
        if isinstance(node, Add):
            kind = "Add"
        if isinstance(node, Conv):
            inputs += node.parameters
            weights = parameters[node.weights].transpose(0, 3, 1, 2)
            initializers.append(_stored(node.weights, weights))
            if node.bias is not None:
                initializers.append(_stored(node.bias, parameters[node.bias]))
        nodes += _with_relu(node, kind, inputs, attributes)
    h, w, classes = network.shapes[network.output]
    output, shape = network.output, ["n", classes, h, w]
    if (h, w) == (1, 1):
        nodes.append(helper.make_node("Flatten", [output], ["output"]))
        output, shape = "output", ["n", classes]
    h, w, channels = network.shapes[network.input]
    graph = helper.make_graph(
        nodes, network.name,
        [helper.make_tensor_value_info(network.input, TensorProto.FLOAT, ["n", channels, h, w])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _with_relu(node: Node, kind: str, inputs: list[str], attributes: dict) -> list[onnx.NodeProto]:
    """Return an operation's nodes: itself, and the ReLU it has taken up."""
    if not node.rectify or kind == "Relu":
        return [helper.make_node(kind, inputs, [node.output], name=node.name, **attributes)]
    before = f"{node.output} before its ReLU"
    return [helper.make_node(kind, inputs, [before], name=node.name, **attributes),
            helper.make_node("Relu", [before], [node.output], name=f"{node.name} ReLU")]


def _stored(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
