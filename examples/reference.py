"""The answers of the formats' own runtimes: what the accelerator is compared with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from systolith.sim.reference import open_session
from systolith.sw.errors import DataError

__all__ = ["reference_outputs"]

#: Samples of one call: bounds the memory it takes.
_BATCH = 256
#: From samples [n, ...] to answers [n, ...].
Runner = Callable[[np.ndarray], np.ndarray]


def reference_outputs(path: Path, x: np.ndarray) -> np.ndarray:
    """Run a model on samples x [n, ...] and return its first output [n, ...].

    ONNX files run in onnxruntime, TFLite files in LiteRT with its reference kernels.

    Raises
    ------
    DataError
        If LiteRT, which only tests need, is not installed.
    """
    run = _litert(path) if path.suffix == ".tflite" else _onnxruntime(path)
    return np.concatenate([run(x[i:i + _BATCH]) for i in range(0, len(x), _BATCH)])


def _onnxruntime(path: Path) -> Runner:
    session = open_session(path)
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _litert(path: Path) -> Runner:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        raise DataError(f"{path.name}: its reference runtime is not installed: pip install "
                        "ai-edge-litert") from None
    interpreter = Interpreter(str(path),
                              experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    source, result = (details[0]["index"] for details in (
        interpreter.get_input_details(), interpreter.get_output_details()))

    def run(x: np.ndarray) -> np.ndarray:
        answers = []
        for sample in x:
            interpreter.set_tensor(source, sample[None])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(result)[0].copy())
        return np.stack(answers)

    return run
