"""A model file, float or quantised, to a graph."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from systolith.sw.errors import ModelError
from systolith.sw.importer.check import check_model, first_line, input_type, model_inputs
from systolith.sw.importer.reader import import_onnx
from systolith.sw.ir import Graph

__all__ = ["load_model"]

#: Operators that make a model a quantised one, beside all that begin with QLinear.
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QGemm", "DynamicQuantizeLinear",
              "ConvInteger", "MatMulInteger")


def load_model(path: str | Path,
               calibration: np.ndarray | Mapping[str, np.ndarray] | None = None) -> Graph:
    """Read a model file.

    Parameters
    ----------
    path : path
        An ``.onnx`` or ``.tflite`` file. A quantised model is read as it is; a float ONNX model
        is quantised by onnxruntime on the calibration data.
    calibration : float32[n, ...] or mapping of input name to array, optional
        Typical inputs of a float model in its own layout, batch first; some hundred are enough.

    Raises
    ------
    ModelError
        If the file cannot be read, or is a float model without calibration data.
    UnsupportedError
        If nodes of the model cannot be mapped.
    DataError
        If the calibration data are unusable.
    """
    path = Path(path)
    if path.suffix.lower() == ".tflite":
        return _load_tflite(path, calibration is not None)
    model = check_model(_read(path), str(path))
    if is_quantized(model):
        if calibration is not None:
            raise ModelError(f"{path}: the model is already quantised: leave the calibration data "
                             "out, or give the float model")
    elif calibration is None:
        shapes = ", ".join(
            "x".join(["n", *map(str, input_type(info, str(path))[1])])
            for info in model_inputs(model))
        raise ModelError(
            f"{path}: the model is not quantised: give some hundred typical inputs ({shapes}, "
            "float32) to calibrate it: --calibrate X.npy, or load_model(path, calibration=array)")
    else:
        from systolith.sw.quantize import quantize  # onnxruntime, and quantize imports this package

        model = quantize(model, str(path), calibration)
    return import_onnx(model, str(path))


def is_quantized(model: onnx.ModelProto) -> bool:
    """Tell whether any node of a model computes with quantised numbers."""
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return any(node.op_type in _QUANTIZED or node.op_type.startswith("QLinear") for node in nodes)


def _load_tflite(path: Path, calibrated: bool) -> Graph:
    from systolith.sw.importer.tflite import import_tflite  # some hundred generated modules

    if calibrated:
        raise ModelError(f"{path}: a TFLite model is quantised when it is converted: leave the "
                         "calibration data out")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or first_line(error)}") from error
    return import_tflite(data, str(path))


def _read(path: Path) -> onnx.ModelProto:
    if path.suffix.lower() != ".onnx":
        raise ModelError(f"{path}: only ONNX and TFLite models (.onnx, .tflite) can be read: "
                         "export or convert it")
    try:
        return onnx.load(path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or first_line(error)}") from error
    except Exception as error:  # protobuf and ONNX raise types of their own
        raise ModelError(f"{path}: not an ONNX model, or cut short: {first_line(error)}; export or "
                         "download it again") from error
