"""A ``.tflite`` flatbuffer as plain records, everything in it checked against the file's size.

References
----------
``tensorflow/lite/schema/schema.fbs``, through the classes that the package ``tflite`` generates
from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from systolith.sw.errors import ModelError

__all__ = ["Operator", "TFLiteFile", "TensorInfo", "parse"]

#: Operator -> its options' class and the fields that matter here.
_OPTIONS = {
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": ("Pool2DOptions", ("Padding", "StrideH", "StrideW", "FilterHeight",
                                          "FilterWidth", "FusedActivationFunction")),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "CONV_2D": ("Conv2DOptions", ("Padding", "StrideH", "StrideW", "DilationHFactor",
                                  "DilationWFactor", "FusedActivationFunction")),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (
        "Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor",
        "FusedActivationFunction")),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", ("BlockSize",)),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("WeightsFormat", "KeepNumDims",
                                                  "FusedActivationFunction")),
    "GELU": ("GeluOptions", ("Approximate",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "MAX_POOL_2D": ("Pool2DOptions", ("Padding", "StrideH", "StrideW", "FilterHeight",
                                      "FilterWidth", "FusedActivationFunction")),
    "GATHER": ("GatherOptions", ("Axis", "BatchDims")),
    "MEAN": ("ReducerOptions", ("KeepDims",)),
    "MIRROR_PAD": ("MirrorPadOptions", ("Mode",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "PACK": ("PackOptions", ("Axis",)),
    "REDUCE_MAX": ("ReducerOptions", ("KeepDims",)),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", ("AlignCorners", "HalfPixelCenters")),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", ("AlignCorners",
                                                                 "HalfPixelCenters")),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", ("BlockSize",)),
    "SQUEEZE": ("SqueezeOptions", ()),
    "STRIDED_SLICE": ("StridedSliceOptions", ("BeginMask", "EndMask", "EllipsisMask",
                                              "NewAxisMask", "ShrinkAxisMask")),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "TRANSPOSE_CONV": ("TransposeConvOptions", ("Padding", "StrideH", "StrideW",
                                                "FusedActivationFunction")),
}


def _enumeration(cls: type) -> dict[int, str]:
    return {value: name for name, value in vars(cls).items() if isinstance(value, int)}


_KINDS = _enumeration(tflite.BuiltinOperator)
_TYPES = {value: name.lower() for value, name in _enumeration(tflite.TensorType).items()}


@dataclass(frozen=True, slots=True, eq=False)
class TensorInfo:
    """A tensor of the file: a constant if it has data, else what an operator writes."""

    name: str
    #: NumPy name of its type, or TFLite's where NumPy has none (``int4``).
    dtype: str
    shape: tuple[int, ...]
    #: float64[k] and int64[k]: none, one, or one for each index of ``axis``.
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int
    #: The shape, -1 where it is not known before the model runs.
    signature: tuple[int, ...]
    #: The numbers of a constant; raw bytes where NumPy does not have the type.
    data: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the file."""

    kind: str
    #: Numbers of tensors; None for an operand left out.
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    #: Fields of its options by the schema's names, in the generated classes' spelling.
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TFLiteFile:
    """The first (for us the only) subgraph."""

    tensors: list[TensorInfo]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse(data: bytes, name: str) -> TFLiteFile:
    """Decode a file.

    Parameters
    ----------
    data : bytes
        All of it.
    name : str
        What messages call it.

    Raises
    ------
    ModelError
        If it is no TFLite model, is cut short or damaged, or has several subgraphs.
    """
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(f"{name}: not a TFLite model (the mark TFL3 is missing): convert or "
                         "download it again")
    try:
        return _Decoder(data).file()
    except _DamageError as error:
        raise ModelError(f"{name}: {error}") from error
    except Exception as error:  # offsets that lead outside raise whatever struct and NumPy raise
        raise ModelError(f"{name}: the TFLite model is damaged or cut short: convert or download "
                         "it again") from error


class _DamageError(Exception):
    """What is wrong with a file."""


class _Decoder:
    """One pass over a flatbuffer."""

    def __init__(self, data: bytes):
        self.data = data
        self.model = tflite.Model.GetRootAsModel(data, 0)

    def file(self) -> TFLiteFile:
        """Return the records."""
        if self.model.SubgraphsLength() != 1:
            raise _DamageError(f"it has {self.model.SubgraphsLength()} subgraphs: only models "
                               "without control flow can be read: convert it with one function")
        graph = self.model.Subgraphs(0)
        codes = self.each(self.model.OperatorCodesLength(), self.code)
        tensors = self.each(graph.TensorsLength(), lambda i: self.tensor(graph.Tensors(i)))

        def operator(i: int) -> Operator:
            return self.operator(graph.Operators(i), codes)
        operators = self.each(graph.OperatorsLength(), operator)
        inputs, outputs = (tuple(int(i) for i in self.numbers(array))
                           for array in (graph.InputsAsNumpy(), graph.OutputsAsNumpy()))
        used = {*inputs, *outputs} | {
            i for op in operators for i in (*op.inputs, *op.outputs) if i is not None}
        if used and not 0 <= min(used) <= max(used) < len(tensors):
            raise _DamageError("an operator names a tensor that the file does not have: convert "
                               "or download it again")
        return TFLiteFile(tensors, operators, inputs, outputs)

    def each(self, count: int, read: Callable[[int], Any]) -> list[Any]:
        """Return ``read(i)`` of a vector's elements; a count above the file's size is damage."""
        if count > len(self.data):
            raise _DamageError("the TFLite model is damaged: convert or download it again")
        return [read(i) for i in range(count)]

    @staticmethod
    def numbers(array: Any) -> np.ndarray:
        """Return a vector of numbers; the generated classes give 0 for one that is left out."""
        return np.zeros(0, np.int64) if isinstance(array, int) else array

    def code(self, i: int) -> str:
        """Return the name of an operator code."""
        code = self.model.OperatorCodes(i)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = _KINDS.get(number, f"operator {number}")
        if kind == "CUSTOM":
            return (code.CustomCode() or b"CUSTOM").decode()
        return kind

    def tensor(self, tensor: tflite.Tensor) -> TensorInfo:
        """Return a tensor."""
        dtype = _TYPES.get(tensor.Type(), f"type {tensor.Type()}")
        shape = tuple(int(n) for n in self.numbers(tensor.ShapeAsNumpy()))
        scale, zero_point, axis = np.zeros(0), np.zeros(0, np.int64), 0
        quantization = tensor.Quantization()
        if quantization is not None:
            scale = self.numbers(quantization.ScaleAsNumpy()).astype(np.float64)
            zero_point = self.numbers(quantization.ZeroPointAsNumpy()).astype(np.int64)
            axis = quantization.QuantizedDimension()
            if zero_point.size not in (0, scale.size) or not np.isfinite(scale).all():
                raise _DamageError("a tensor's scales and zero points contradict each other: "
                                   "convert or download it again")
            zero_point = np.zeros(scale.size, np.int64) if not zero_point.size else zero_point
        if tensor.Sparsity() is not None:
            dtype = f"sparse {dtype}"
        signature = tuple(int(n) for n in self.numbers(tensor.ShapeSignatureAsNumpy())) or shape
        return TensorInfo((tensor.Name() or b"").decode(), dtype, shape, scale, zero_point, axis,
                          signature, self.constant(tensor, dtype, shape))

    def constant(self, tensor: tflite.Tensor, dtype: str,
                 shape: tuple[int, ...]) -> np.ndarray | None:
        """Return a tensor's numbers, None if it has none."""
        buffer = self.model.Buffers(tensor.Buffer()) if (
            tensor.Buffer() < self.model.BuffersLength()) else None
        if buffer is None:
            raise _DamageError("a tensor's data are missing: convert or download it again")
        if buffer.Offset() > 1:
            raise _DamageError("its weights lie outside the flatbuffer, as in models above 2 GB, "
                               "which cannot be read: convert a smaller model")
        raw = self.numbers(buffer.DataAsNumpy())
        if not raw.size:
            return None
        try:
            kind = np.dtype(dtype)
        except TypeError:
            return raw
        if min(shape, default=1) < 0 or raw.nbytes != int(np.prod(shape)) * kind.itemsize:
            raise _DamageError("a constant has fewer or more bytes than its shape says: convert "
                               "or download it again")
        return np.frombuffer(raw.tobytes(), kind.newbyteorder("<")).astype(kind).reshape(shape)

    def operator(self, operator: tflite.Operator, codes: list[str]) -> Operator:
        """Return an operator."""
        kind = codes[operator.OpcodeIndex()]
        options: dict[str, Any] = {}
        table = operator.BuiltinOptions()
        if kind in _OPTIONS:
            name, fields = _OPTIONS[kind]
            decoded = getattr(tflite, name)()
            if table is None:
                raise _DamageError(f"an operator {kind} has no options: convert or download it "
                                   "again")
            decoded.Init(table.Bytes, table.Pos)
            options = {field: getattr(decoded, field)() for field in fields}
            if kind == "SQUEEZE":
                options["SqueezeDims"] = self.numbers(decoded.SqueezeDimsAsNumpy()).tolist()
        inputs = tuple(None if i == -1 else int(i)
                       for i in self.numbers(operator.InputsAsNumpy()))
        outputs = tuple(int(i) for i in self.numbers(operator.OutputsAsNumpy()))
        if not outputs:
            raise _DamageError(f"an operator {kind} has no outputs: convert or download it again")
        return Operator(kind, inputs, outputs, options)
