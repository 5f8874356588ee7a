"""Evaluation of nodes whose operands are all constants, such as the arithmetic of shapes."""

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from systolith.sw.importer.values import Constant, Value

__all__ = ["fold", "initializers"]


def fold(model: ModelProto, proto: NodeProto, inputs: list[Value | None]) -> list[Value] | None:
    """Return the outputs of a node on constants, or None if ONNX's evaluator refuses it."""
    names = [name for name in proto.input if name]
    arrays = [value.array for value in inputs if value is not None]
    infos = [helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, arrays, strict=True)]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    graph = helper.make_graph([proto], "constant", infos, outputs)
    single = helper.make_model(graph, opset_imports=model.opset_import)
    try:
        results = ReferenceEvaluator(single).run(None, dict(zip(names, arrays, strict=True)))
    except Exception:
        return None
    return [Constant(np.asarray(result)) for result in results]


def initializers(model: ModelProto) -> dict[str, Value | None]:
    """Return the model's stored arrays by name, and None for the empty name of left-out operands.

    Raises
    ------
    ValueError
        If one holds fewer bytes than its shape says.
    """
    values: dict[str, Value | None] = {"": None}
    for tensor in model.graph.initializer:
        values[tensor.name] = Constant(numpy_helper.to_array(tensor))
    return values
