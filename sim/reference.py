"""onnxruntime as a reference whose integer products are exact on every processor."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["open_session"]

#: Asks for kernels that do not saturate (``onnxruntime_session_options_config_keys.h``).
_EXACT = "session.x64quantprecision"


def open_session(model: Path | bytes, *, optimised: bool = True) -> "InferenceSession":
    """Return a session on the processor for an ONNX file or a serialised model.

    Not optimised, every node is computed as it stands: what is between a DequantizeLinear and a
    QuantizeLinear in float. Where the fast kernels saturate, others are asked for; models with
    QLinear operators that have no others get the fast ones.
    """
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    try:
        return _session(model, optimised, _saturates())
    except NoKernel:
        return _session(model, optimised, False)


def _session(model: Path | bytes, optimised: bool, exact: bool) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if exact:
        options.add_session_config_entry(_EXACT, "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _saturates() -> bool:
    """Tell whether sums of two products saturate at 16 bits, as on x86 without VNNI."""
    length = 4
    a = helper.make_tensor_value_info("a", TensorProto.UINT8, [1, length])
    b = helper.make_tensor_value_info("b", TensorProto.INT8, [length, 1])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "probe",
                              [a, b], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = _session(model.SerializeToString(), True, False)
    most = np.full((1, length), 255, np.uint8), np.full((length, 1), 127, np.int8)
    return session.run(None, dict(zip("ab", most, strict=True)))[0].item() != length * 255 * 127
