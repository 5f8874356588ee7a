"""The network in integer NumPy, operation by operation: what the answer is.

Every result is that of TFLite's int8 reference kernels, through :mod:`systolith.sw.numerics`;
instruction-level model and RTL are compared with it by equality.

References
----------
TensorFlow Lite ``reference/integer_ops/{conv,depthwise_conv,fully_connected,pooling,add}.h``,
``transpose_conv.h`` there.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from systolith.sw import host, ports
from systolith.sw.errors import DataError
from systolith.sw.ir import (
    Add,
    Concat,
    Conv,
    Graph,
    HostOp,
    Op,
    Pool,
    Requant,
    Select,
    Tensor,
    TransposedConv,
)
from systolith.sw.numerics import ADD_LEFT_SHIFT, requantize, saturate

__all__ = ["accumulate", "run", "run_model", "run_op", "scatter"]

#: Elements of one unrolled convolution operand: bounds the memory a batch takes.
_CHUNK_ELEMENTS = 1 << 23
#: Below this, every partial sum of a product is an exact float32.
_FLOAT32_EXACT = 1 << 24


def run_model(graph: Graph, x: np.ndarray | Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return a model's outputs in its own layout and type.

    Parameters
    ----------
    graph : Graph
        The network.
    x : array[n, ...] or mapping of input name to array
        Inputs as the model's user has them.

    Raises
    ------
    DataError
        If an input is missing or does not match its port.
    """
    arrays = x if isinstance(x, Mapping) else {graph.inputs[0].name: x}
    missing = [port.name for port in graph.inputs if port.name not in arrays]
    if missing:
        raise DataError(f"{graph.name}: no data for input " + ", ".join(map(repr, missing)))
    tensors = run(graph, {
        port.tensor: ports.encode(port, graph.tensors[port.tensor], arrays[port.name])
        for port in graph.inputs})
    return [ports.decode(port, graph.tensors[port.tensor], tensors[port.tensor])
            for port in graph.outputs]


def run(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every feature map of the network, int8[n, h, w, c] by tensor name.

    Parameters
    ----------
    graph : Graph
        The network.
    inputs : mapping of tensor name to int8[n, h, w, c]
        The input feature maps.
    """
    values = dict(inputs)
    for op in graph.ops:
        values[op.output] = run_op(graph, op, [values[name] for name in op.inputs])
    return values


def run_op(graph: Graph, op: Op, operands: list[np.ndarray]) -> np.ndarray:
    """Return the result of one operation, int8[n, h, w, c]."""
    inputs = [graph.tensors[name] for name in op.inputs]
    output = graph.tensors[op.output]
    match op:
        case Conv():
            result = _rescale(accumulate(op, operands[0], inputs[0]), op.requant, output)
        case TransposedConv():
            result = _rescale(scatter(op, operands[0], inputs[0]), op.requant, output)
        case Select():
            result = operands[0][:, op.rows][:, :, op.columns][..., op.channels]
        case Concat():
            result = _concat(op, operands, inputs, output)
        case Pool(mode="max"):
            padded = _pad(operands[0], op.pads, -128)
            result = np.maximum.reduce(list(_taps(padded, op.kernel, op.stride)))
        case Pool():
            result = _average(op, operands[0], inputs[0], output)
        case Add():
            result = _add(op, operands, inputs, output)
        case HostOp():
            return host.run(op, operands, inputs, output)
        case _:
            raise TypeError(f"golden does not know {type(op).__name__}")
    return saturate(result, op.low, op.high).astype(np.int8)


def accumulate(op: Conv, x: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return ``bias + sum((x - z_x) * w)``, the exact accumulators of a convolution.

    Parameters
    ----------
    op : Conv
        The convolution.
    x : int8[n, h, w, c]
        Its input.
    tensor : Tensor
        The input's zero point.

    Returns
    -------
    int64[n, h, w, o]
    """
    outputs, *kernel, depth = op.weights.shape
    groups = op.groups
    worst = 255 * np.abs(op.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max()
    exact = np.float32 if worst < _FLOAT32_EXACT else np.float64
    # [group, kh * kw * i, o]: one matrix product a group does the whole batch.
    weights = op.weights.reshape(groups, outputs // groups, -1).transpose(0, 2, 1).astype(exact)

    padded = _pad(x.astype(exact) - tensor.zero_point, op.pads, 0)
    windows = _windows(padded, (kernel[0], kernel[1]), op.stride, op.dilation)
    n, h, w, channels = windows.shape[:4]
    windows = windows.reshape(n, h, w, groups, depth, *kernel).transpose(3, 0, 1, 2, 5, 6, 4)
    step = max(1, _CHUNK_ELEMENTS // (h * w * channels * kernel[0] * kernel[1]))
    sums = np.empty((n, h, w, groups, outputs // groups), np.int64)
    for start in range(0, n, step):
        chunk = windows[:, start:start + step]
        with np.errstate(invalid="ignore"):      # all are finite; BLAS flags lanes it does not use
            product = np.matmul(chunk.reshape(groups, -1, weights.shape[1]), weights)
        sums[start:start + step] = product.reshape(
            groups, -1, h, w, outputs // groups).transpose(1, 2, 3, 0, 4)
    return sums.reshape(n, h, w, outputs) + op.bias.astype(np.int64)


def scatter(op: TransposedConv, x: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return the exact accumulators of a transposed convolution, int64[n, h, w, o].

    Parameters
    ----------
    op : TransposedConv
        The convolution.
    x : int8[n, h, w, c]
        Its input.
    tensor : Tensor
        The input's zero point.
    """
    outputs, kh, kw, depth = op.weights.shape
    n, h, w, _ = x.shape
    weights = op.weights.astype(np.float64).reshape(op.groups, -1, kh, kw, depth)
    pixels = (x.astype(np.float64) - tensor.zero_point).reshape(n, h, w, op.groups, depth)
    spans = [(size - 1) * stride + 1 for size, stride in zip((h, w), op.stride, strict=True)]
    whole = [max(span + dilation * (kernel - 1), crop + size) for span, dilation, kernel, crop, size
             in zip(spans, op.dilation, (kh, kw), op.crop, op.size, strict=True)]
    sums = np.zeros((n, *whole, outputs))
    for ky, kx in np.ndindex(kh, kw):
        y, x0 = ky * op.dilation[0], kx * op.dilation[1]
        product = np.einsum("nhwgi,goi->nhwgo", pixels, weights[:, :, ky, kx])
        sums[:, y:y + spans[0]:op.stride[0], x0:x0 + spans[1]:op.stride[1]] += product.reshape(
            n, h, w, outputs)
    (top, left), (rows, columns) = op.crop, op.size
    return sums[:, top:top + rows, left:left + columns].astype(np.int64) + op.bias.astype(np.int64)


def _concat(op: Concat, operands: list[np.ndarray], inputs: list[Tensor],
            output: Tensor) -> np.ndarray:
    parts = []
    for i, (x, tensor) in enumerate(zip(operands, inputs, strict=True)):
        requant = op.requant.elements(slice(i, i + 1))
        parts.append(_rescale(x.astype(np.int64) - tensor.zero_point, requant, output))
    return np.concatenate(parts, axis=1 + op.axis)


def _average(op: Pool, x: np.ndarray, source: Tensor, output: Tensor) -> np.ndarray:
    wide = x.astype(np.int32)
    zero = 0 if op.requant is None else source.zero_point
    sums = sum(_taps(_pad(wide - zero, op.pads, 0), op.kernel, op.stride))
    inside = _pad(np.ones((1, *source.shape[:2], 1), np.int32), op.pads, 0)
    counts = sum(_taps(inside, op.kernel, op.stride))
    if op.requant is not None:
        return _rescale(sums, op.requant.elements(counts - 1 if any(op.pads) else [0]), output)
    return np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)


def _add(op: Add, operands: list[np.ndarray], inputs: list[Tensor], output: Tensor) -> np.ndarray:
    requant = op.requant
    total = np.int64(0)
    for k, (x, tensor) in enumerate(zip(operands, inputs, strict=True)):
        lifted = (x.astype(np.int64) - tensor.zero_point) << ADD_LEFT_SHIFT
        total = total + requantize(
            lifted, requant.multiplier[k], requant.left[k], requant.right[k])
    scaled = requantize(total, requant.multiplier[2], requant.left[2], requant.right[2])
    return scaled + output.zero_point


def _rescale(sums: np.ndarray, requant: Requant, output: Tensor) -> np.ndarray:
    return requantize(sums, requant.multiplier, requant.left, requant.right) + output.zero_point


def _pad(x: np.ndarray, pads: tuple[int, int, int, int], value: int) -> np.ndarray:
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _windows(x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int],
             dilation: tuple[int, int]) -> np.ndarray:
    """Return a view [n, oh, ow, c, kh, kw] of all windows of a padded [n, h, w, c]."""
    span = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, span, axis=(1, 2))
    return view[:, ::stride[0], ::stride[1], :, ::dilation[0], ::dilation[1]]


def _taps(x: np.ndarray, kernel: tuple[int, int],
          stride: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield one view [n, oh, ow, c] for each position in the window."""
    windows = _windows(x, kernel, stride, (1, 1))
    for ky, kx in np.ndindex(*kernel):
        yield windows[..., ky, kx]
