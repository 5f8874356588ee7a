"""QUANTIZE and DEQUANTIZE.

References
----------
``tensorflow/lite/kernels/{quantize,dequantize}.cc`` and
``tensorflow/lite/kernels/internal/reference/{requantize,quantize}.h``.
"""

from dataclasses import replace

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.quantization import OFFSETS
from systolith.sw.importer.tflite.activations import rescale
from systolith.sw.importer.tflite.operation import Operation
from systolith.sw.importer.values import Activation, State, Value
from systolith.sw.ir import HostStep

__all__ = ["HANDLERS"]

_FLOAT = ("convert the model with full integer quantisation to int8 (representative_dataset, "
          "TFLITE_BUILTINS_INT8)")


def quantize(builder: Builder, node: Operation) -> Value:
    """Import QUANTIZE: of a float input, or from one int8 scale (or uint8 input) to another."""
    x = node.operand(0)
    if not isinstance(x, Activation):
        node.refuse("it quantises a constant", _FLOAT)
    if x.state is State.RAW:
        target, cell = node.quantization(), builder.slot(x).cell
        if cell.value not in (None, target):
            node.refuse(f"model input {x.tensor!r} is quantised twice, with different scales",
                        "let all its readers share one QUANTIZE")
        cell.value = target
        return replace(x, state=State.INTEGER, dtype="int8")
    result = node.result
    if x.dtype == "uint8":
        node = node.on(replace(x, dtype="int8"))
    if result.dtype == "uint8":
        node = replace(node, result=replace(result, dtype="int8",
                                            zero_point=result.zero_point + OFFSETS["uint8"]))
    x, target = builder.whole(node, node.feature_map()), node.quantization()
    before = builder.slot(x).cell.value
    if before != target:
        x = rescale(builder, node, x, before.scale / target.scale, [])
    return replace(x, dtype=result.dtype)


def dequantize(builder: Builder, node: Operation) -> Value:
    """Import DEQUANTIZE, the host's work, at the end of the model."""
    x = node.operand(0)
    if not isinstance(x, Activation):
        node.refuse(f"it dequantises {node.tensors[0].dtype} weights", _FLOAT)
    if x.state is State.HOST and x.dtype == "int8":
        source = node.quantization_of(node.tensors[0])
        step = HostStep(kind="dequantize", attributes={
            "scale": source.scale, "zero_point": source.zero_point})
        return replace(x, dtype="float32", steps=(*x.steps, step))
    x = node.feature_map()
    return replace(x, state=State.REAL, dtype="float32")


HANDLERS = {"QUANTIZE": quantize, "DEQUANTIZE": dequantize}
