"""A quantised network as one to train: its integers as the real numbers they stand for.

So the zoo's networks, and any other that was compiled for inference, can learn on. A bound that
is no more than the end of the int8 range is not seen, but for zero: that is a ReLU.
"""

import numpy as np

from systolith.sw import ports
from systolith.sw.errors import UnsupportedError
from systolith.sw.ir import Add as IntegerAdd
from systolith.sw.ir import Conv as IntegerConv
from systolith.sw.ir import Graph, Op, Pool, Requant
from systolith.sw.train.graph import Add, AveragePool, Conv, MaxPool, Network

__all__ = ["network_of", "real_inputs"]


def network_of(graph: Graph) -> Network:
    """Return the real network behind an integer one.

    Raises
    ------
    UnsupportedError
        If operations have no gradient here, or there are several inputs or outputs; the message
        names all of them.
    """
    problems = [f"{op.name} ({op.kind}): {reason}" for op in graph.ops
                if (reason := _refusal(graph, op))]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        problems.append("training takes networks with one input and one output")
    if problems:
        raise UnsupportedError(graph.name, problems)
    network = Network(name=graph.name, shapes={name: t.shape for name, t in graph.tensors.items()},
                      nodes=[], input=graph.inputs[0].tensor, output=graph.outputs[0].tensor)
    positive: set[str] = set()               # tensors without negative numbers
    for op in graph.ops:
        bounded = op.low == graph.tensors[op.output].zero_point
        already = not isinstance(op, IntegerConv) and positive.issuperset(op.inputs)
        _add(network, graph, op, rectify=bounded and not already)
        if bounded or already:
            positive.add(op.output)
    return network


def real_inputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Return inputs in the model's own layout as the real numbers the network sees.

    Returns
    -------
    float64[n, h, w, c]
        Rounded to the steps of the quantised input.
    """
    port = graph.inputs[0]
    tensor = graph.tensors[port.tensor]
    levels = ports.encode(port, tensor, x)
    return tensor.scale * (levels.astype(np.float64) - tensor.zero_point)


def _refusal(graph: Graph, op: Op) -> str | None:
    """Return why an operation cannot be trained."""
    if op.high < 127:
        return "it has an upper bound; train with ReLU"
    if op.low > -128 and op.low != graph.tensors[op.output].zero_point:
        return "it has a lower bound that is not 0; train with ReLU"
    match op:
        case IntegerConv(groups=1, dilation=(1, 1)) | IntegerAdd() | Pool(mode="max"):
            return None
        case IntegerConv():
            return "it is grouped or dilated; training takes dense convolutions"
        case Pool(requant=None) if any(op.pads):
            return "it leaves its padding out of the average; pool without padding"
        case Pool():
            return None
    return "it has no gradient"


def _add(network: Network, graph: Graph, op: Op, *, rectify: bool) -> None:
    fields = {"name": op.name, "inputs": op.inputs, "output": op.output, "rectify": rectify}
    match op:
        case IntegerConv():
            x, y = graph.tensors[op.x], graph.tensors[op.output]
            scales = _real(op.requant) * y.scale / x.scale
            weights, bias = f"{op.name}.weights", f"{op.name}.bias"
            network.parameters |= {weights: op.weights * scales[:, None, None, None],
                                   bias: op.bias * scales * x.scale}
            network.nodes.append(Conv(**fields, kernel=op.weights.shape[1:3], stride=op.stride,
                                      pads=op.pads, weights=weights, bias=bias))
        case Pool():
            kind = MaxPool if op.mode == "max" else AveragePool
            network.nodes.append(kind(**fields, kernel=op.kernel, stride=op.stride, pads=op.pads))
        case IntegerAdd():
            network.nodes.append(Add(**fields))


def _real(requant: Requant) -> np.ndarray:
    """Return the factors of a rescaling, float64[o]."""
    return np.ldexp(requant.multiplier.astype(np.float64),
                    requant.left.astype(int) - requant.right.astype(int) - 31)
