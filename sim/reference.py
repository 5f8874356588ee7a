"""onnxruntime as a reference whose integer products are exact on every processor."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["open_session"]

#: On x86 without VNNI the fast kernels saturate sums of two products at 16 bits, but for this
#: (``onnxruntime_session_options_config_keys.h``).
_EXACT = "session.x64quantprecision"


def open_session(model: Path | bytes, *, optimised: bool = True) -> "InferenceSession":
    """Return a session on the processor for an ONNX file or a serialised model.

    Not optimised, every node is computed as it stands: what is between a DequantizeLinear and a
    QuantizeLinear in float. There is no exact kernel for int8 QLinear operators beside those of
    ``com.microsoft``: such models get the fast ones.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    def attempt(exact: bool) -> "InferenceSession":
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if exact:
            options.add_session_config_entry(_EXACT, "1")
        if not optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    try:
        return attempt(exact=True)
    except NoKernel:
        return attempt(exact=False)
