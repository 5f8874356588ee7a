"""Post-training quantisation of float models, done by onnxruntime."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from systolith.sw.errors import DataError, ModelError
from systolith.sw.importer.check import model_inputs

__all__ = ["quantize"]

#: Images of one calibration run where the model's batch is symbolic: bounds the memory it takes.
_BATCH = 32
#: The first opset whose QuantizeLinear has a scale for each channel.
_PER_CHANNEL_OPSET = 13


def quantize(model: onnx.ModelProto, name: str,
             calibration: np.ndarray | Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Quantise a float model to QDQ form: int8 activations, symmetric int8 weights per channel.

    Parameters
    ----------
    model : onnx.ModelProto
        A checked float model.
    name : str
        Its file, for messages.
    calibration : float32[n, ...] or mapping of input name to array
        Typical inputs in the model's own layout, batch first.

    Raises
    ------
    DataError
        If the data do not match the model's inputs or hold NaN or infinity.
    ModelError
        If onnxruntime cannot run or quantise the model.
    """
    arrays = calibration_arrays(model, calibration)
    with tempfile.TemporaryDirectory(prefix="systolith-") as folder, _quiet():
        source, prepared, target = (Path(folder, f"{stage}.onnx")
                                    for stage in ("float", "prepared", "int8"))
        try:
            onnx.save(_modern(model), source)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared, target, _Reader(model, arrays), quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, per_channel=True,
                extra_options={"WeightSymmetric": True})
            return onnx.load(target)
        except OSError:
            raise
        except Exception as error:  # onnxruntime raises types of its own
            text = " ".join(str(error).split())
            raise ModelError(f"{name}: onnxruntime cannot quantise the model: {text}") from error


def calibration_arrays(model: onnx.ModelProto,
                       calibration: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return calibration data by input name, checked against the model."""
    inputs = model_inputs(model)
    if not isinstance(calibration, Mapping):
        if len(inputs) != 1:
            raise DataError(f"the model has {len(inputs)} inputs: give a mapping of their names to "
                            "calibration arrays")
        calibration = {inputs[0].name: calibration}
    arrays = {}
    for info in inputs:
        if info.name not in calibration:
            raise DataError(f"no calibration data for input {info.name!r}")
        arrays[info.name] = _checked(info, np.asarray(calibration[info.name]))
    if len({len(array) for array in arrays.values()}) > 1:
        raise DataError("the calibration arrays differ in length: give the same number of each")
    return arrays


def _checked(info: onnx.ValueInfoProto, array: np.ndarray) -> np.ndarray:
    shape = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim[1:])
    wanted = "x".join(["n", *map(str, shape)])
    where = f"calibration data for input {info.name!r}"
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape or not len(array):
        got = "x".join(map(str, array.shape)) or "a single number"
        raise DataError(f"{where} must have the shape {wanted} (batch first), not {got}")
    if array.dtype.kind != "f":
        raise DataError(f"{where} must be float32, not {array.dtype}: convert and scale it as the "
                        "model expects its input")
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise DataError(f"{where} holds {bad} values that are NaN or infinite, the first at "
                        f"{first}: clean the data first")
    return array.astype(np.float32)


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset that can quantise weights per channel."""
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version >= _PER_CHANNEL_OPSET:
        return model
    return onnx.version_converter.convert_version(model, _PER_CHANNEL_OPSET)


class _Reader(CalibrationDataReader):
    """Feeds the data in batches the model accepts; the last is filled up with repeats."""

    def __init__(self, model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]):
        dims = next(info for info in model.graph.input
                    if info.name in arrays).type.tensor_type.shape.dim
        self._size = dims[0].dim_value
        self._arrays = arrays
        self._batches = self._iterate()

    def _iterate(self) -> Iterator[dict[str, np.ndarray]]:
        count = len(next(iter(self._arrays.values())))
        size = self._size or _BATCH
        for start in range(0, count, size):
            batch = {name: array[start:start + size] for name, array in self._arrays.items()}
            if self._size:
                batch = {name: np.resize(array, (size, *array.shape[1:]))
                         for name, array in batch.items()}
            yield batch

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None at the end."""
        return next(self._batches, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's advice on models: its log goes to the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
