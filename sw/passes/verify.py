"""What holds for every graph, whoever built or rewrote it."""

import numpy as np

from systolith.sw.ir import (
    Add,
    Bilinear,
    Concat,
    Conv,
    Extreme,
    Graph,
    Mul,
    Op,
    Pool,
    Real,
    Rearrange,
    Requant,
    Select,
    Table,
    Tensor,
    TransposedConv,
)
from systolith.sw.numerics import HALF

__all__ = ["result_shape", "verify"]


def verify(graph: Graph) -> None:
    """Check a graph from end to end.

    Raises
    ------
    ValueError
        If operations are out of order, shapes, types or channel counts disagree, or a number is
        out of the range its field allows: a defect of what made the graph.
    """
    given = {port.tensor for port in graph.inputs}
    known = set(given)
    for op in graph.ops:
        _require(set(op.inputs) <= known, op, "reads what nothing wrote before")
        _require(op.output not in known, op, f"writes {op.output!r} again")
        known.add(op.output)
        _check_op(op, [graph.tensors[name] for name in op.inputs], graph.tensors[op.output])
    for name in known:
        tensor = graph.tensors[name]
        if not (tensor.name == name and -128 <= tensor.zero_point <= 127 and tensor.scale > 0
                and min(tensor.shape) > 0):
            raise ValueError(f"tensor {name!r} is impossible: {tensor}")
    for port in (*graph.inputs, *graph.outputs):
        elements = np.prod(graph.tensors[port.tensor].shape) if port.tensor in known else -1
        if sorted(port.permutation) != [0, 1, 2] or np.prod(port.shape) != elements:
            raise ValueError(f"port {port.name!r} does not fit {port.tensor!r}: {port}")
    for port in graph.outputs:
        if port.tensor in given:
            raise ValueError(f"output {port.name!r} is the input {port.tensor!r} as it is")


def result_shape(op: Op, inputs: list[Tensor]) -> tuple[int, int, int]:
    """Return the (h, w, c) an operation makes of its inputs."""
    h, w, c = inputs[0].shape
    match op:
        case Conv():
            return (*_windows((h, w), op.weights.shape[1:3], op.stride, op.pads, op.dilation),
                    len(op.weights))
        case Pool():
            return *_windows((h, w), op.kernel, op.stride, op.pads, (1, 1)), c
        case TransposedConv():
            return *op.size, len(op.weights)
        case Select():
            return len(op.rows), len(op.columns), len(op.channels)
        case Concat():
            shape = [h, w, c]
            shape[op.axis] = sum(tensor.shape[op.axis] for tensor in inputs)
            return tuple(shape)
        case Bilinear():
            return *op.size, c
        case Rearrange():
            return op.places.shape
        case Mul() | Extreme():
            _require(len(inputs) == 2 and all(1 in pair or pair[0] == pair[1] for pair in zip(
                *(tensor.shape for tensor in inputs), strict=True)), op,
                "joins maps that do not fit")
            return tuple(np.maximum(*(tensor.shape for tensor in inputs)).tolist())
        case _:
            return h, w, c


def _windows(lengths: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, int],
             pads: tuple[int, int, int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Return how many windows fit along height and width."""
    h, w = ((lengths[i] + pads[i] + pads[i + 2] - dilation[i] * (kernel[i] - 1) - 1)
            // stride[i] + 1 for i in (0, 1))
    return h, w


def _check_op(op: Op, inputs: list[Tensor], output: Tensor) -> None:
    _require(result_shape(op, inputs) == output.shape, op,
             f"makes {result_shape(op, inputs)}, its tensor is {output.shape}")
    _require(-128 <= op.low <= op.high <= 127, op, f"has the bounds {op.low}..{op.high}")
    match op:
        case Conv():
            _check_weights(op, inputs[0].shape[2])
            _require(min(op.pads) >= 0, op, "has an impossible window")
        case TransposedConv():
            _check_weights(op, inputs[0].shape[2])
            _require(min(op.crop) >= 0, op, "has an impossible window")
        case Select():
            _check_select(op, inputs[0], output)
        case Concat():
            others = [tuple(n for axis, n in enumerate(tensor.shape) if axis != op.axis)
                      for tensor in inputs]
            _require(len(set(others)) == 1, op, "joins maps that do not fit")
            _check_requant(op, op.requant, len(inputs))
        case Pool():
            _check_pool(op, inputs[0], output)
        case Add():
            _require(len(inputs) == 2 and inputs[0].shape == inputs[1].shape, op,
                     "adds maps of different shapes")
            _check_requant(op, op.requant, 3)
            _require(not op.requant.left.any(), op, "shifts left")
            halves = zip(op.requant.multiplier[:2], op.requant.right[:2], strict=True)
            _require(HALF in halves, op, "halves neither operand")
        case Mul():
            _check_requant(op, op.requant, 1)
        case Extreme() | Bilinear():
            _require(all(_grid(tensor) == _grid(output) for tensor in inputs), op,
                     "changes the scale without a rescaling")
        case Rearrange():
            _require(op.places.min() >= 0 and op.places.max() < np.prod(inputs[0].shape), op,
                     "picks what its input does not have")
            _require(_grid(inputs[0]) == _grid(output), op,
                     "changes the scale without a rescaling")
        case Real():
            _require(sorted(op.permutation) == [0, 1, 2] and
                     np.prod(op.shape) == np.prod(inputs[0].shape), op, "does not fit its input")
            _require(op.steps[-1].kind == "quantize", op, "does not end with levels")
        case Table():
            _require(op.levels.dtype == np.int8 and op.levels.shape == (256,), op,
                     "has no table of 256 levels")


def _check_weights(op: Conv | TransposedConv, channels: int) -> None:
    outputs = len(op.weights)
    _require(op.weights.dtype == np.int8 and op.weights.ndim == 4, op, "has no int8 weights")
    _require(op.weights.shape[3] * op.groups == channels and outputs % op.groups == 0, op,
             f"has weights {op.weights.shape} in {op.groups} groups for {channels} channels")
    _require(op.bias.shape == (outputs,) and op.bias.dtype == np.int32, op,
             "has no int32 bias for each channel")
    _require(min(*op.stride, *op.dilation) > 0, op, "has an impossible window")
    _check_requant(op, op.requant, outputs)


def _grid(tensor: Tensor) -> tuple[float, int]:
    return tensor.scale, tensor.zero_point


def _check_select(op: Select, source: Tensor, output: Tensor) -> None:
    for picked, length in zip((op.rows, op.columns, op.channels), source.shape, strict=True):
        _require(all(0 <= i < length for i in picked), op, "selects what its input does not have")
    _require(_grid(source) == _grid(output), op, "changes the scale without a rescaling")


def _check_pool(op: Pool, source: Tensor, output: Tensor) -> None:
    _require(op.mode in ("max", "average"), op, f"has the mode {op.mode!r}")
    _require(all(p < k for p, k in zip(op.pads, op.kernel * 2, strict=True)), op,
             "has windows outside its input")
    if op.requant is None:
        _require(_grid(source) == _grid(output), op, "changes the scale without a rescaling")
    else:
        _require(op.mode == "average", op, "rescales what cannot be")
        _check_requant(op, op.requant, op.kernel[0] * op.kernel[1] if any(op.pads) else 1)


def _check_requant(op: Op, requant: Requant, count: int) -> None:
    for values, high in ((requant.multiplier, (1 << 31) - 1), (requant.left, 15),
                         (requant.right, 31)):
        _require(values.shape == (count,) and values.min() >= 0 and values.max() <= high, op,
                 "has a rescaling out of range")


def _require(condition: bool, op: Op, what: str) -> None:
    if not condition:
        raise ValueError(f"operation {op.name!r} ({op.kind}) {what}")
