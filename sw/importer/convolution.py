"""Conv, Gemm and MatMul, and their quantised forms."""

from dataclasses import replace

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.drafts import ConvDraft
from systolith.sw.importer.geometry import read_geometry
from systolith.sw.importer.node import Node
from systolith.sw.importer.quantization import binary_operator, weighted_operator
from systolith.sw.importer.values import PADDING, Activation, Constant, QuantizedConstant, Value
from systolith.sw.importer.weights import channel_scales, integer_bias, integer_weights

__all__ = ["HANDLERS", "flat_weights", "input_scale", "pixels"]


def input_scale(builder: Builder, x: Activation) -> float:
    """Return the scale of a dequantised activation."""
    return builder.slot(x).cell.value.scale


def conv(builder: Builder, node: Node) -> Value:
    """Import Conv, 1-D or 2-D; padding by Pad nodes before it is taken over."""
    x = node.quantized()
    weights = integer_weights(node, 1)
    scales = channel_scales(node, weights, 0)
    source = builder.as_map(node, x)
    levels = weights.levels
    if levels.ndim != source.rank + 1:
        node.refuse(f"its weights have {levels.ndim} dimensions, its input {source.rank + 1}",
                    "3-D convolution is not supported; 1-D takes (n, c, l), 2-D (n, c, h, w)")
    geometry = read_geometry(node, source, levels.shape[2:])
    groups = node.attribute("group", 1)
    outputs, depth = levels.shape[:2]
    if depth * groups != source.shape[2] or outputs % groups:
        node.refuse(f"its weights are for {depth * groups} input channels in {groups} groups, its "
                    f"input has {source.shape[2]}", "correct the model")
    scale = input_scale(builder, x) * scales
    hwc = levels.reshape(outputs, depth, *geometry.kernel).transpose(0, 2, 3, 1)
    draft = ConvDraft(
        **builder.labels(node, source.tensor), weights=hwc, scale=scale,
        bias=integer_bias(node, node.operand(2), scale), lift=True, stride=geometry.stride,
        pads=_sum(source.pads, geometry.pads), dilation=geometry.dilation, groups=groups)
    return builder.add_draft(draft, (*geometry.result, outputs), source.rank)


def gemm(builder: Builder, node: Node) -> Value:
    """Import Gemm: ``y = alpha * a * b (+ beta * c)`` with either order of b."""
    alpha, beta = (float(node.attribute(name, 1.0)) for name in ("alpha", "beta"))
    if not (0 < alpha < np.inf and abs(beta) < np.inf):
        node.refuse(f"alpha is {alpha:g} and beta {beta:g}", "alpha must be above 0: multiply it "
                    "into the weights")
    weights, bias = node.operand(1), node.operand(2)
    if isinstance(weights, QuantizedConstant) and alpha != 1:
        node = node.on(node.operand(0), replace(weights, scale=alpha * weights.scale), bias)
    if bias is not None and beta != 1:
        scaled = Constant(beta * node.constant(2, "bias").astype(np.float64))
        node = node.on(*node.inputs[:2], scaled)
    if node.attribute("transA", 0):
        node.refuse("its first operand is transposed", "set transA=0")
    return _dense(builder, node, transposed=bool(node.attribute("transB", 0)))


def matmul(builder: Builder, node: Node) -> Value:
    """Import MatMul of an activation and a constant matrix."""
    if isinstance(node.operand(1), Activation):
        node.refuse("both operands are activations", "the array multiplies with constant weights; "
                    "attention is not supported")
    return _dense(builder, node, transposed=False)


def _dense(builder: Builder, node: Node, transposed: bool) -> Value:
    """Import a product with a matrix [k, o] (transposed [o, k]) over the last axis."""
    x = node.quantized()
    weights = integer_weights(node, 1)
    if weights.levels.ndim != 2 or not x.shape:
        node.refuse(f"its matrix has {weights.levels.ndim} dimensions", "it must have two")
    axis = 0 if transposed else 1
    scale = input_scale(builder, x) * channel_scales(node, weights, axis)
    levels = weights.levels if transposed else weights.levels.T
    if levels.shape[1] != x.shape[-1]:
        node.refuse(f"its matrix is for {levels.shape[1]} inputs, it has {x.shape[-1]}",
                    "correct the model")
    bias = integer_bias(node, node.operand(2), scale)
    if x.elements.size == x.shape[-1]:
        x = builder.distinct(node, x)
        levels, shape = flat_weights(builder, node, x, levels), (1, 1, len(levels))
    else:
        x, size = pixels(builder, node, x)
        levels, shape = levels[:, None, None], (*size, len(levels))
    draft = ConvDraft(**builder.labels(node, x.tensor), weights=levels, scale=scale, bias=bias,
                      lift=True)
    result = builder.add_draft(draft, shape, 1)
    return result.rearranged(np.arange(np.prod(shape)).reshape(*x.shape[:-1], shape[2]))


def flat_weights(builder: Builder, node: Node, x: Activation, levels: np.ndarray) -> np.ndarray:
    """Return int8[o, h, w, c]: a matrix [o, k] over a map of distinct elements, in its order."""
    slot = builder.slot(x)
    if slot.places is None and x.exclusive and np.array_equal(
            x.elements.ravel(), np.arange(slot.natural.size)):
        builder.pin(node, x, x.elements.reshape(1, 1, -1))
    builder.pin_naturally(node, x)
    elements = x.elements.ravel()
    real = elements != PADDING
    ordered = np.zeros((len(levels), int(np.prod(slot.shape))), np.int8)
    ordered[:, slot.places[elements[real]]] = levels[:, real]
    return ordered.reshape(-1, *slot.shape)


def pixels(builder: Builder, node: Node, x: Activation) -> tuple[Activation, tuple[int, int]]:
    """Return x as a map whose pixels are its last axis, in order, and its height and width."""
    x = builder.whole(node, x)
    rows = x.elements.reshape(-1, x.shape[-1])
    h, w, _ = builder.slot(x).shape or (1, *rows.shape)
    if h * w != len(rows):
        h, w = 1, len(rows)
    name = builder.pin(node, x, rows.reshape(h, w, -1))
    return replace(x, tensor=name, elements=np.arange(rows.size).reshape(x.shape)), (h, w)


def _sum(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int, int]:
    top, left, bottom, right = (p + q for p, q in zip(a, b, strict=True))
    return top, left, bottom, right


HANDLERS = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "QLinearConv": weighted_operator(conv, bias=8, result=6, axis=0),
    "QGemm": weighted_operator(gemm, bias=6, result=7, axis=None),
    "QLinearMatMul": binary_operator(matmul),
}
