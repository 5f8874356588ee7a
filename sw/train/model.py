"""A float ONNX model that is trained: its network, its inputs, and what was learnt written back."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from systolith.sw.errors import DataError, ModelError
from systolith.sw.importer.check import check_model, first_line
from systolith.sw.importer.load import is_quantized
from systolith.sw.train.graph import Network
from systolith.sw.train.reader import read_network

__all__ = ["TrainableModel"]


class TrainableModel:
    """A float ONNX model whose operators can all be trained.

    Attributes
    ----------
    network : Network
        What is trained.

    Parameters
    ----------
    model : onnx.ModelProto
        The model; it is not changed.
    name : str
        Its file, for messages.

    Raises
    ------
    ModelError
        If it is damaged, quantised, or has several inputs or outputs.
    UnsupportedError
        If operators have no gradient here; the message names all of them.
    """

    def __init__(self, model: onnx.ModelProto, name: str):
        checked = check_model(model, name)
        if is_quantized(checked):
            raise ModelError(f"{name}: the model is quantised: training takes the float model")
        self._model = model
        self._reading = read_network(checked, name)
        self.network: Network = self._reading.network

    @classmethod
    def load(cls, path: str | Path) -> "TrainableModel":
        """Read a model file."""
        try:
            model = onnx.load(path)
        except Exception as error:  # protobuf raises types of its own
            raise ModelError(f"{path}: it cannot be read: {first_line(error)}") from error
        return cls(model, str(path))

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Return inputs in the model's layout, batch first, as [n, h, w, c].

        Raises
        ------
        DataError
            If they have another shape.
        """
        shape = self._reading.input_shape
        if x.shape[1:] != shape:
            raise DataError(f"{self.network.name}: inputs are {list(x.shape[1:])}, the model reads "
                            f"{list(shape)}")
        return np.moveaxis(x, 1, -1).reshape(len(x), *self.network.shapes[self.network.input])

    def updated(self, parameters: dict[str, np.ndarray]) -> onnx.ModelProto:
        """Return the model with other parameters.

        Parameters
        ----------
        parameters : mapping of name to float array
            As the network has them.
        """
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        for tensor in result.graph.initializer:
            origin = self._reading.origins.get(tensor.name)
            if origin is not None and tensor.name in parameters:
                values = parameters[tensor.name].reshape(-1)[origin.places].astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return result
