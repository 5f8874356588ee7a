"""A TFLite operator with its operands resolved, and what all handlers need of it."""

import math
from dataclasses import dataclass, replace

import numpy as np

from systolith.sw.importer.builder import Builder, Map
from systolith.sw.importer.drafts import Clamp, Draft
from systolith.sw.importer.node import Node
from systolith.sw.importer.tflite.file import TensorInfo
from systolith.sw.importer.values import Activation, Constant, Quantization, State

__all__ = ["LARGEST", "Operation", "activation_bounds", "add_draft", "as_map", "check_size"]

#: Elements of a feature map, far above what any device holds; damaged files ask for more.
LARGEST = 1 << 23

_CONVERT = ("convert the model with full integer quantisation to int8 (representative_dataset, "
            "TFLITE_BUILTINS_INT8)")
_ACTIVATIONS = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """A node of a TFLite model; ``name`` is that of the tensor it writes."""

    #: The operands as the file has them.
    tensors: tuple[TensorInfo | None, ...] = ()
    #: What it writes.
    result: TensorInfo | None = None

    def feature_map(self, index: int = 0) -> Activation:
        """Return an operand that is an int8 feature map with one scale."""
        x = self.operand(index)
        if not isinstance(x, Activation):
            self.refuse(f"operand {index} is a constant", "only feature maps that the model "
                        "computes can stand there: fold the operator into the one before it")
        if x.state is not State.INTEGER or x.dtype != "int8":
            self.refuse(f"its operand {index} is {x.dtype}", _CONVERT)
        return x

    def quantization(self) -> Quantization:
        """Return the scale and zero point of the result, which must be int8."""
        return self.quantization_of(self.result)

    def quantization_of(self, tensor: TensorInfo) -> Quantization:
        """Return the scale and zero point of an int8 feature map."""
        if tensor.dtype != "int8":
            self.refuse(f"{tensor.name!r} is {tensor.dtype}", _CONVERT)
        if tensor.scale.size != 1 or tensor.scale[0] <= 0 or not -128 <= tensor.zero_point[0] < 128:
            self.refuse(f"{tensor.name!r} has {tensor.scale.size} scales" if tensor.scale.size != 1
                        else f"{tensor.name!r} has an impossible scale or zero point",
                        f"a feature map needs one positive scale: {_CONVERT}")
        return Quantization(float(tensor.scale[0]), int(tensor.zero_point[0]))

    def weights(self, index: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights int8[...] and float64[o], their scale for each index of ``axis``."""
        tensor = self.tensors[index] if index < len(self.tensors) else None
        if tensor is None or tensor.data is None:
            self.refuse("its weights are no constant", "only constant weights can be loaded")
        if tensor.dtype != "int8":
            self.refuse(f"its weights are {tensor.dtype}", _CONVERT)
        if tensor.zero_point.any():
            self.refuse("its weights have a zero point", "TFLite weights are symmetric: convert "
                        "the model again")
        count = tensor.data.shape[axis] if tensor.data.ndim > max(axis, 0) else 0
        if tensor.scale.size not in (1, count) or (tensor.scale < 0).any() or (
                tensor.scale.size > 1 and tensor.axis != axis % tensor.data.ndim):
            self.refuse(f"its weights have {tensor.scale.size} scales along axis {tensor.axis}",
                        "they need one, or one for each output channel: convert the model again")
        return tensor.data, np.broadcast_to(tensor.scale, (count,))

    def bias(self, index: int, count: int) -> np.ndarray:
        """Return the bias, int64[count]; zeros if it is left out."""
        tensor = self.tensors[index] if index < len(self.tensors) else None
        if tensor is None:
            return np.zeros(count, np.int64)
        if tensor.data is None or tensor.dtype != "int32":
            self.refuse(f"its bias is {tensor.dtype}{'' if tensor.data is not None else ', no '}"
                        f"{'' if tensor.data is not None else 'constant'}", _CONVERT)
        if tensor.data.size != count:
            self.refuse(f"its bias has {tensor.data.size} elements for {count} channels",
                        "convert the model again")
        return tensor.data.astype(np.int64).ravel()

    def whole_numbers(self, index: int, what: str) -> list[int]:
        """Return a constant operand of integers."""
        value = self.operand(index)
        if not isinstance(value, Constant) or value.array.dtype.kind not in "iu":
            self.refuse(f"its {what} is no integer constant", "convert the model with fixed shapes")
        return [int(n) for n in value.array.ravel()]

    def clamps(self) -> list[Clamp]:
        """Return the bounds of the fused activation as levels of the result."""
        number = self.attribute("FusedActivationFunction", 0)
        if number not in _ACTIVATIONS:
            self.refuse(f"its fused activation has the number {number}", "only NONE, RELU, "
                        "RELU_N1_TO_1 and RELU6 are supported")
        low, high = _ACTIVATIONS[number]
        return activation_bounds(self.quantization(), low, high)


def activation_bounds(grid: Quantization, low: float | None, high: float | None) -> list[Clamp]:
    """Return a saturation to real bounds as TFLite rounds them.

    Source: ``CalculateActivationRangeQuantized`` in ``tensorflow/lite/kernels/kernel_util.cc``:
    ``zero_point + round(bound / scale)`` in float32, ties away from zero.
    """
    def level(bound: float) -> int:
        with np.errstate(over="ignore"):
            ratio = float(np.float32(abs(bound)) / np.float32(grid.scale))
        steps = math.floor(min(ratio, 1e6) + 0.5)
        return grid.zero_point + (steps if bound >= 0 else -steps)

    if low is None and high is None:
        return []
    return [Clamp(-128 if low is None else level(low), 127 if high is None else level(high),
                  real=False)]


def as_map(builder: Builder, node: Operation, x: Activation) -> Map:
    """Return an activation of shape (h, w, c) as a feature map with padding."""
    if len(x.shape) != 3:
        node.refuse(f"its input has {len(x.shape)} dimensions beside the batch", "it must have 3: "
                    "height, width, channels")
    return builder.as_map(node, x)


def check_size(node: Operation, *shape: int) -> None:
    """Refuse an array that no device could hold."""
    if math.prod(int(n) for n in shape) > LARGEST:
        node.refuse(f"an array of {' x '.join(map(str, shape))} is too large",
                    f"there may be {LARGEST} elements: correct the model")


def add_draft(builder: Builder, node: Operation, draft: Draft, shape: tuple[int, int, int],
              quantization: Quantization | None = None) -> Activation:
    """Add an operation; return its result (h, w, c), quantised as the node's or as given."""
    check_size(node, *shape)
    y = builder.add_draft(draft, shape, 3)
    builder.slot(y).cell.value = quantization or node.quantization()
    return replace(y, state=State.INTEGER, dtype="int8")
