"""Systolith as an ONNX backend: ``onnx.backend.base.Backend`` over a device of the driver.

``SystolithBackend.prepare(model, "machine:", calibration=typical).run([images])``
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from onnx import ModelProto, NodeProto
from onnx.backend.base import Backend, BackendRep

from systolith.hw.config import Config
from systolith.sw import device as driver
from systolith.sw.errors import SystolithError, UnsupportedError
from systolith.sw.importer.reader import import_onnx
from systolith.sw.partition import compile_network
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program

__all__ = ["Network", "SystolithBackend"]

#: What messages call a model that comes from no file.
_NAME = "the model"


class Network(BackendRep):
    """A compiled model, and the device that runs it."""

    def __init__(self, program: Program | Pipeline, device: str):
        self.program, self.device = program, device

    def run(self, inputs: Sequence[np.ndarray], **kwargs: Any) -> tuple[np.ndarray, ...]:
        """Return the model's outputs for a batch.

        Parameters
        ----------
        inputs : sequence of arrays
            For each of the model's inputs the images along axis 0, in the model's own layout.
        **kwargs
            Taken because ONNX's interface has them; there are none.

        Raises
        ------
        DataError
            If an input's shape or type is not the model's.
        """
        with driver.open(self.device, self.program.config) as opened:
            opened.load(self.program)
            return opened.run(*inputs).outputs


class SystolithBackend(Backend):
    """Compiles whole models for a configuration and runs them on a device URL."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "machine:", **kwargs: Any) -> bool:
        """Tell whether ``prepare`` would take a model with these arguments."""
        try:
            cls.prepare(model, device, **kwargs)
        except SystolithError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "machine:", *, config: Config | None = None,
                calibration: np.ndarray | Mapping[str, np.ndarray] | None = None) -> Network:
        """Compile a model.

        Parameters
        ----------
        model : onnx.ModelProto
            Quantised or, with ``calibration``, float; its weights are initializers.
        device : str
            Where it will run: ``machine:``, ``sim:``...
        config : Config, optional
            The accelerator, the default one with the window unit if not given.
        calibration : float32[n, ...] or mapping of input name to array, optional
            Typical inputs that quantise a float model.

        Raises
        ------
        ModelError
            If it cannot be mapped; all nodes in the way are named.
        CapacityError
            If it does not fit.
        """
        if calibration is not None:
            from systolith.sw.quantize import quantize  # onnxruntime

            model = quantize(model, _NAME, calibration)
        graph = import_onnx(model, _NAME)
        return Network(compile_network(graph, config or Config(window=True)), device)

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Any, device: str = "machine:",
                 outputs_info: Any = None, **kwargs: Any) -> NoReturn:
        """Refuse a node alone: which of its operands are weights, only a model can tell."""
        problem = (f"node {node.name!r} ({node.op_type}): a node alone does not say which operands "
                   "are constants; make it a model with initializers and use prepare")
        raise UnsupportedError(_NAME, [problem])

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Tell whether the driver knows a device URL."""
        return device.partition(":")[0] in driver.schemes()
