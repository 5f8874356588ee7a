"""What must hold for a model file before its nodes are read."""

from onnx import ModelProto, TensorProto, ValueInfoProto, checker, inliner, shape_inference

from systolith.sw.errors import ModelError

__all__ = ["check_model", "first_line", "input_type", "model_inputs"]

OLDEST_OPSET = 11
_TYPES = {TensorProto.FLOAT: "float32", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}


def check_model(model: ModelProto, name: str) -> ModelProto:
    """Return the model with shapes inferred and local functions written out.

    Raises
    ------
    ModelError
        If ONNX's own checker finds it broken or its opset is too old.
    """
    if not model.graph.node:
        raise ModelError(f"{name}: there is no network in it: the file is empty or no ONNX model")
    try:
        model = _inferred(model)        # the checker insists on outputs' shapes
        checker.check_model(model, full_check=True)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except Exception as error:  # the checker raises many types, ShapeInference its own
        raise ModelError(f"{name}: not a valid ONNX model: {first_line(error)}") from error
    version = max((entry.version for entry in model.opset_import
                   if entry.domain in ("", "ai.onnx")), default=0)
    if version < OLDEST_OPSET:
        raise ModelError(f"{name}: opset {version} is older than {OLDEST_OPSET}: convert it with "
                         "onnx.version_converter.convert_version")
    return model


def _inferred(model: ModelProto) -> ModelProto:
    """Return the model with shapes inferred, beside those it tells itself.

    Of a pool with ceil_mode ONNX counts a last window that lies in the padding, PyTorch and
    onnxruntime do not: what such a model tells of results is right, but counts as a contradiction.
    """
    if not any(attribute.name == "ceil_mode" and attribute.i
               for node in model.graph.node for attribute in node.attribute):
        return shape_inference.infer_shapes(model)
    silent = ModelProto()
    silent.CopyFrom(model)
    del silent.graph.value_info[:]
    for info in silent.graph.output:
        info.type.tensor_type.ClearField("shape")
    silent = shape_inference.infer_shapes(silent)
    for info, told in zip(silent.graph.output, model.graph.output, strict=True):
        if not info.type.tensor_type.HasField("shape"):
            info.CopyFrom(told)
    return silent


def model_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs a user feeds: those that are no stored weights."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in stored]


def input_type(info: ValueInfoProto, name: str) -> tuple[int, tuple[int, ...], str]:
    """Return batch (1 where symbolic), batchless shape and NumPy type name of a model input.

    Raises
    ------
    ModelError
        If a size is not fixed or the type is another than float32, int8, uint8.
    """
    tensor = info.type.tensor_type
    dims = list(tensor.shape.dim)
    if tensor.elem_type not in _TYPES:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f"{name}: input {info.name!r} is {kind}: export the model with a float, "
                         "int8 or uint8 input")
    if not dims:
        raise ModelError(f"{name}: input {info.name!r} is a single number: the first dimension "
                         "must be the batch")
    for axis, dim in enumerate(dims[1:], 1):
        if dim.dim_value < 1:
            raise ModelError(
                f"{name}: axis {axis} of input {info.name!r} has no fixed size: export the model "
                "with one (only the batch may be symbolic)")
    return max(1, dims[0].dim_value), tuple(d.dim_value for d in dims[1:]), _TYPES[
        tensor.elem_type]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
