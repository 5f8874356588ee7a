"""QuantizeLinear and DequantizeLinear, and the quantised operators that contain them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.node import Node, RefusedError
from systolith.sw.importer.values import (
    UNQUANTIZED,
    Activation,
    Constant,
    Quantization,
    QuantizedConstant,
    State,
    Value,
)
from systolith.sw.ir import HostStep

__all__ = ["HANDLERS", "dequantize", "quantize", "told"]

#: Type of a quantised activation -> what makes it int8.
OFFSETS = {"int8": 0, "uint8": -128}
_UINT8 = np.dtype(np.uint8)
_AGAIN = "quantise the model again to 8 bits, one scale a tensor for activations"


def quantize_linear(builder: Builder, node: Node) -> Value:
    """Import QuantizeLinear; without a zero point its type is uint8 or an attribute."""
    kind = node.attribute("output_dtype", 0) or TensorProto.UINT8
    return quantize(builder, node, node.inputs[0], node.operand(1), node.operand(2),
                    helper.tensor_dtype_to_np_dtype(kind))


def dequantize_linear(builder: Builder, node: Node) -> Value:
    """Import DequantizeLinear."""
    return dequantize(builder, node, node.inputs[0], node.operand(1), node.operand(2),
                      node.attribute("axis", 1))


def quantize(builder: Builder, node: Node, value: Value | None, scale: Value | None,
             zero_point: Value | None, default: np.dtype = _UINT8) -> Value:
    """Return ``round(value / scale) + zero_point``, saturated to the zero point's type.

    ``default`` is that type where the zero point is left out.
    """
    if value is None:
        node.refuse("it lacks an operand", "correct the model")
    scales, zeros = _parameters(node, scale, zero_point, default)
    if not isinstance(value, Activation):
        return _quantize_constant(node, value.array, scales, zeros)
    dtype = zeros.dtype.name
    target = _single(node, scales, zeros)
    if value.state is State.HOST:
        limits = np.iinfo(dtype)
        step = HostStep(kind="quantize", attributes={
            "scale": target.scale, "zero_point": int(zeros.flat[0]),
            "low": int(limits.min), "high": int(limits.max)})
        return replace(value, dtype=dtype, steps=(*value.steps, step))
    if value.state is State.INTEGER:
        node.refuse("it quantises integers", "remove it")
    slot = builder.slot(value)
    cell = slot.cell
    if value.steps != slot.steps:
        if cell.value is not None:
            node.refuse(f"model input {slot.name!r} is read as it is and computed with before",
                        "let all its readers share one QuantizeLinear")
        slot.steps = value.steps
    if cell.value is None:
        cell.value = target
    elif cell.value != target:
        value = _rescale(builder, node, value, target)
    return replace(value, state=State.INTEGER, dtype=dtype, steps=())


def dequantize(builder: Builder, node: Node, value: Value | None, scale: Value | None,
               zero_point: Value | None, axis: int = 0) -> Value:
    """Return ``scale * (value - zero_point)``, a number to the model, integers to the hardware."""
    if value is None:
        node.refuse("it lacks an operand", "correct the model")
    if not isinstance(value, Activation):
        scales, zeros = _parameters(node, scale, zero_point, value.array.dtype)
        if not isinstance(value, Constant) or value.array.dtype.kind not in "iu":
            node.refuse("it dequantises float numbers", "remove it")
        axis %= max(1, value.array.ndim)
        if scales.size > 1 and value.array.shape[axis] != scales.size:
            node.refuse(f"it has {scales.size} scales for {value.array.shape[axis]} channels",
                        "correct the model")
        return QuantizedConstant(value.array, scales, zeros, axis)
    scales, zeros = _parameters(node, scale, zero_point, np.dtype(value.dtype))
    source = _single(node, scales, zeros)
    if zeros.dtype.name != value.dtype:
        node.refuse(f"its zero point is {zeros.dtype}, its input {value.dtype}",
                    "correct the model")
    if value.state is State.HOST:
        step = HostStep(kind="dequantize", attributes={
            "scale": source.scale, "zero_point": int(zeros.flat[0])})
        return replace(value, dtype="float32", steps=(*value.steps, step))
    if value.state is not State.INTEGER:
        node.refuse("it dequantises float numbers", "remove it")
    cell = builder.slot(value).cell
    if cell.value is None:
        cell.value = source
    elif cell.value != source:
        node.refuse(f"it reads scale {source.scale:g} and int8 zero point {source.zero_point}, but "
                    f"{value.tensor!r} was written with {cell.value.scale:g} and "
                    f"{cell.value.zero_point}", "correct the model: both ends must agree")
    return replace(value, state=State.REAL, dtype="float32")


def told(node: Node, scale: Value | None, zero_point: Value) -> Quantization | None:
    """Return what a QuantizeLinear with these operands tells of a map; None if it is refused."""
    try:
        return _single(node, *_parameters(node, scale, zero_point, _UINT8))
    except RefusedError:
        return None


def _rescale(builder: Builder, node: Node, x: Activation, target: Quantization) -> Activation:
    """Return the map on another scale, by an operation of its own."""
    slot = builder.slot(x)
    if slot.draft is None and x.state in UNQUANTIZED:
        node.refuse(f"model input {slot.name!r} is quantised twice, with different scales",
                    "let all its readers share one QuantizeLinear")
    result = builder.unary(node, x, "average")
    builder.slot(result).cell.value = target
    return result


def _quantize_constant(node: Node, real: np.ndarray, scales: np.ndarray,
                       zeros: np.ndarray) -> Constant:
    shape = [1] * real.ndim
    if scales.size > 1:
        shape[node.attribute("axis", 1)] = -1
    limits = np.iinfo(zeros.dtype)
    levels = np.rint(real / scales.astype(np.float32).reshape(shape)) + zeros.reshape(shape)
    return Constant(np.clip(levels, limits.min, limits.max).astype(zeros.dtype))


def _parameters(node: Node, scale: Value | None, zero_point: Value | None,
                default: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return scales float64[k] and zero points int[k] of a quantisation."""
    if not isinstance(scale, Constant) or not isinstance(zero_point, Constant | None):
        node.refuse("its scale or zero point is not a constant", "quantise the model statically")
    if node.attribute("block_size", 0):
        node.refuse("it quantises in blocks", _AGAIN)
    scales = np.atleast_1d(scale.array).astype(np.float64)
    if not (scales.size and np.isfinite(scales).all() and (scales > 0).all()):
        node.refuse("a scale is not a positive number", _AGAIN)
    zeros = np.zeros(scales.shape, default)
    if zero_point is not None:
        zeros = zero_point.array.ravel()
    if zeros.dtype.name not in ("int8", "uint8", "int32"):
        node.refuse(f"it quantises to {zeros.dtype}", _AGAIN)
    if scales.ndim > 1 or zeros.size not in (1, scales.size):
        node.refuse(f"it has {scales.size} scales and {zeros.size} zero points",
                    "correct the model")
    return scales, np.broadcast_to(zeros, scales.shape)


def _single(node: Node, scales: np.ndarray, zeros: np.ndarray) -> Quantization:
    if zeros.dtype.name not in OFFSETS:
        node.refuse(f"it gives an activation the type {zeros.dtype}", _AGAIN)
    if scales.size != 1:
        node.refuse("it gives an activation a scale for each channel", _AGAIN)
    return Quantization(float(scales[0]), int(zeros[0]) + OFFSETS[zeros.dtype.name])


# -- operators with quantisation inside --------------------------------------------------------

Handler = Callable[[Builder, Node], Value]


def unary_operator(core: Handler) -> Handler:
    """Return the handler of an operator (X, x_scale, x_zero, y_scale, y_zero) around ``core``."""
    def handler(builder: Builder, node: Node) -> Value:
        x, x_scale, x_zero, y_scale, y_zero = (node.operand(i) for i in range(5))
        result = core(builder, node.on(dequantize(builder, node, x, x_scale, x_zero)))
        return quantize(builder, node, result, y_scale, y_zero)
    return handler


def binary_operator(core: Handler) -> Handler:
    """Return the handler of an operator (A, a_scale, a_zero, B, b_scale, b_zero, y_...)."""
    def handler(builder: Builder, node: Node) -> Value:
        a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (
            node.operand(i) for i in range(8))
        result = core(builder, node.on(
            dequantize(builder, node, a, a_scale, a_zero),
            dequantize(builder, node, b, b_scale, b_zero, -1)))
        return quantize(builder, node, result, y_scale, y_zero)
    return handler


def weighted_operator(core: Handler, *, bias: int, result: int, axis: int | None) -> Handler:
    """Return the handler of QLinearConv or QGemm around ``core`` (Conv, Gemm).

    ``bias`` and ``result`` are the operand numbers of bias and result scale, ``axis`` that of the
    weights' channels (None: as ``transB`` says).
    """
    def handler(builder: Builder, node: Node) -> Value:
        x, x_scale, x_zero, w, w_scale, w_zero = (node.operand(i) for i in range(6))
        if node.operand(result) is None:
            node.refuse("its result is float", "give it y_scale and y_zero_point")
        channels = node.attribute("transB", 0) - 1 if axis is None else axis
        operands = [dequantize(builder, node, x, x_scale, x_zero),
                    dequantize(builder, node, w, w_scale, w_zero, channels)]
        if node.operand(bias) is not None:
            product = node.constant(1, "input scale") * node.constant(4, "weight scale")
            operands.append(dequantize(builder, node, node.operand(bias), Constant(product), None))
        y = core(builder, node.on(*operands))
        return quantize(builder, node, y, node.operand(result), node.operand(result + 1))
    return handler


HANDLERS = {"QuantizeLinear": quantize_linear, "DequantizeLinear": dequantize_linear}
