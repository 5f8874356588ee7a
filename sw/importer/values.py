"""What flows along the edges of an ONNX graph while it is being read."""

from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from systolith.sw.ir import HostStep

__all__ = ["HOSTED", "PADDING", "UNQUANTIZED", "Activation", "Cell", "Constant", "Quantization",
           "QuantizedConstant", "State", "Value"]

#: Stands in :attr:`Activation.elements` for an element that a Pad node put there: real value 0.
PADDING = -1


@dataclass(frozen=True, slots=True)
class Quantization:
    """Scale and int8 zero point of a tensor (uint8 ones have 128 taken off)."""

    scale: float
    zero_point: int

    def levels(self, real: float) -> int:
        """Return the int8 level nearest to a real number, ties to even, as ONNX quantises."""
        level = np.rint(real / self.scale) + self.zero_point
        return int(np.clip(level, -128, 127))


@dataclass(slots=True)
class Cell:
    """The quantisation of one or more tensors, empty until a node tells it.

    Max pooling and layout do not change it: their results share the cell of their input.
    """

    value: Quantization | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """A number array of the model."""

    array: np.ndarray


@dataclass(frozen=True, slots=True)
class QuantizedConstant:
    """Integers with a scale: ``real = scale * (levels - zero_point)``.

    ``scale`` and ``zero_point`` have one element, or one for each index of ``axis``.
    """

    levels: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    @property
    def array(self) -> np.ndarray:
        """Return the real values, float32[...]."""
        shape = [1] * self.levels.ndim
        if self.scale.size > 1:
            shape[self.axis] = -1
        offsets = self.levels.astype(np.int64) - self.zero_point.astype(np.int64).reshape(shape)
        return (offsets * self.scale.reshape(shape)).astype(np.float32)


class State(Enum):
    """How the numbers of an activation stand to the integers of its tensor."""

    #: A float input of the model, no scale known yet.
    RAW = auto()
    #: A float result whose scale a later QuantizeLinear will tell.
    PENDING = auto()
    #: The integers themselves.
    INTEGER = auto()
    #: Dequantised: ``scale * (q - zero_point)``.
    REAL = auto()
    #: Computed by the host from the network's result.
    HOST = auto()
    #: Computed by the host from a float input of the model, no scale known yet.
    PREPARED = auto()


#: What has left the device or has not reached it.
HOSTED = (State.HOST, State.PREPARED)
#: A float input of the model, not quantised yet.
UNQUANTIZED = (State.RAW, State.PREPARED)


@dataclass(frozen=True, slots=True)
class Activation:
    """An ONNX value that is a rearrangement of a feature map.

    Layout nodes (Reshape, Transpose, Flatten, Pad...) act on ``elements`` with the NumPy function
    of that name, so any chain of them is followed exactly and none costs a cycle.
    """

    #: The feature map.
    tensor: str
    #: int64 of the ONNX shape without the batch: which element of the map each one is, or PADDING.
    elements: np.ndarray
    state: State
    #: NumPy name of the type ONNX gives the value.
    dtype: str
    #: No other node reads the feature map.
    exclusive: bool = True
    #: Steps of the host so far.
    steps: tuple[HostStep, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The ONNX shape without the batch."""
        return self.elements.shape

    def rearranged(self, elements: np.ndarray) -> "Activation":
        """Return the same feature map seen in another order."""
        return replace(self, elements=elements)


Value = Constant | QuantizedConstant | Activation
