"""Conversion between a model's own arrays and the int8 feature maps of the graph.

The one place that executes a :class:`systolith.sw.ir.Port`: golden model and driver call it. The
arithmetic is that of ONNX's ``QuantizeLinear``, ``DequantizeLinear`` and ``Softmax`` in float32,
or that of TFLite's reference kernels (ties away from zero, ``softmax_int8``).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from systolith.sw.errors import DataError
from systolith.sw.functions import FUNCTIONS
from systolith.sw.ir import HostStep, Port, Tensor
from systolith.sw.softmax import softmax_int8

__all__ = ["apply", "decode", "encode", "laid", "seen"]


def encode(port: Port, tensor: Tensor, array: np.ndarray) -> np.ndarray:
    """Turn a model's input into the feature maps the hardware reads.

    Parameters
    ----------
    port : Port
        The graph's input.
    tensor : Tensor
        The feature map it fills.
    array : float32/int8/uint8[n, ...port.shape]
        Inputs in the model's own layout and type, batch first; any float type for a float model.

    Returns
    -------
    int8[n, h, w, c]

    Raises
    ------
    DataError
        If the shape or type is another one, or a value is NaN.
    """
    values = apply(port.steps, _check(port, array), tensor)
    return laid(values.astype(np.int16) + port.offset, port.permutation, tensor)


def decode(port: Port, tensor: Tensor, maps: np.ndarray) -> np.ndarray:
    """Turn int8[n, h, w, c] feature maps into the model's output [n, ...port.shape]."""
    values = apply(port.steps, seen(maps, port.permutation, port.shape), tensor)
    if port.offset:
        values = values.astype(np.int16) - port.offset
    return np.ascontiguousarray(values, dtype=port.dtype)


def apply(steps: tuple[HostStep, ...], values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Return what a host's steps make of values; levels among them are those of ``tensor``."""
    for step in steps:
        if step.kind in FUNCTIONS:
            with np.errstate(over="ignore", invalid="ignore"):  # what is not taken
                values = FUNCTIONS[step.kind](values, step.attributes)
        else:
            values = _STEPS[step.kind](values, step.attributes, tensor)
    return values


def seen(maps: np.ndarray, permutation: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return feature maps [n, h, w, c] as the model has them, [n, ...shape]."""
    inverse = np.argsort(permutation)
    return maps.transpose(0, *(axis + 1 for axis in inverse)).reshape(len(maps), *shape)


def laid(levels: np.ndarray, permutation: tuple[int, ...], tensor: Tensor) -> np.ndarray:
    """Return a model's levels as feature maps int8[n, h, w, c]: the inverse of :func:`seen`."""
    # the model's elements in their order, with three axes
    shape = (tensor.shape[axis] for axis in np.argsort(permutation))
    levels = levels.astype(np.int8).reshape(len(levels), *shape)
    return np.ascontiguousarray(levels.transpose(0, *(axis + 1 for axis in permutation)))


def _check(port: Port, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    wanted = "x".join(["n", *map(str, port.shape)])
    if array.ndim != len(port.shape) + 1 or array.shape[1:] != port.shape:
        got = "x".join(map(str, array.shape)) or "a single number"
        raise DataError(f"input {port.name!r} must have the shape {wanted} (batch first), not "
                        f"{got}: reshape the data to the model's own layout")
    dtype = np.dtype(port.dtype)
    if dtype.kind == "f" and array.dtype.kind == "f":
        array = array.astype(dtype, copy=False)
        if np.isnan(array).any():
            raise DataError(f"input {port.name!r} contains NaN: clean the data first")
    if array.dtype != dtype:
        raise DataError(f"input {port.name!r} must be of type {port.dtype}, not {array.dtype}: "
                        "convert the data as the model expects it")
    return array


# -- host steps: (values, attributes, tensor) -> values ------------------------------------------

def _quantize(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
    scale, zero_point = _scale(attributes, tensor)
    with np.errstate(over="ignore"):
        levels = values / scale
        levels = _round_away(levels) if attributes.get("ties_away") else np.rint(levels)
        levels = levels + zero_point
    low, high = attributes.get("low", -128), attributes.get("high", 127)
    return np.clip(levels, low, high).astype(np.int16)


def _dequantize(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
    scale, zero_point = _scale(attributes, tensor)
    return (values.astype(np.int32) - zero_point).astype(np.float32) * scale


def _softmax(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
    axis = int(attributes["axis"])
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _log_softmax(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
    axis = int(attributes["axis"])
    below = values - values.max(axis=axis, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=axis, keepdims=True))


def _normalize(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
    axes = tuple(attributes["axes"])
    values = values - values.mean(axes, keepdims=True, dtype=np.float32)
    deviation = np.sqrt(np.square(values).mean(axes, keepdims=True, dtype=np.float32)
                        + np.float32(attributes["epsilon"]))
    scale, bias = (np.array(attributes[name], np.float32) for name in ("scale", "bias"))
    return values / deviation * scale + bias


def _arithmetic(function: np.ufunc) -> Callable[..., np.ndarray]:
    def step(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
        return function(values, np.array(attributes["operand"], np.float32))
    return step


def _table(values: np.ndarray, attributes: Mapping[str, Any], tensor: Tensor) -> np.ndarray:
    return np.array(attributes["levels"], np.int8)[values.astype(np.int16) + 128]


def _softmax_int8(values: np.ndarray, attributes: Mapping[str, Any],
                  tensor: Tensor) -> np.ndarray:
    return softmax_int8(values, tensor.scale, attributes["beta"])


def _round_away(values: np.ndarray) -> np.ndarray:
    """Round to nearest, ties away from zero, exactly as C's ``round``."""
    whole = np.trunc(values)
    return whole + np.where(np.abs(values - whole) >= 0.5, np.sign(values), 0).astype(values.dtype)


def _scale(attributes: Mapping[str, Any], tensor: Tensor) -> tuple[np.float32, np.int32]:
    """Return scale and zero point of a step: its own, or else those of the port's tensor."""
    return (np.float32(attributes.get("scale", tensor.scale)),
            np.int32(attributes.get("zero_point", tensor.zero_point)))


_STEPS = {"quantize": _quantize, "dequantize": _dequantize, "softmax": _softmax,
          "log_softmax": _log_softmax, "softmax_int8": _softmax_int8, "table": _table,
          "instance_normalization": _normalize, "layer_normalization": _normalize,
          "add": _arithmetic(np.add), "subtract": _arithmetic(np.subtract),
          "multiply": _arithmetic(np.multiply), "divide": _arithmetic(np.divide)}
