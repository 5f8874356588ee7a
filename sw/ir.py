"""The network as the compiler sees it: integer tensors and the operations between them.

Activations are ``int8[h, w, c]`` (NHWC without the batch), weights ``int8[o, kh, kw, i]``. All
arithmetic is integer; :mod:`systolith.sw.numerics` says what each rescaling means and
:mod:`systolith.sim.golden` executes a graph. Importers build graphs, passes rewrite them, lowering
turns them into nests.
"""

from dataclasses import dataclass, field

import numpy as np

from systolith.sw.origin import Origin

__all__ = ["Add", "Bilinear", "Concat", "Conv", "Extreme", "Graph", "HostOp", "HostStep", "Mul",
           "Op", "Pool", "Port", "Real", "Rearrange", "Requant", "Select", "Softmax", "Table",
           "Tensor", "TransposedConv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A feature map. Real value = ``scale * (q - zero_point)``."""

    name: str
    #: Height, width, channels. A flat vector is (1, 1, n); a 1-D sequence (1, length, channels).
    shape: tuple[int, int, int]
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, eq=False)
class Requant:
    """Rescaling per output channel; see :func:`systolith.sw.numerics.requantize`. Arrays [o]."""

    multiplier: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def elements(self, index: int | slice | np.ndarray) -> "Requant":
        """Return the rescaling that has only some elements, in the index's shape."""
        return Requant(self.multiplier[index], self.left[index], self.right[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Op:
    """An operation: reads tensor names, writes one tensor name."""

    name: str
    #: Operator as the model file calls it, for reports: ``Conv``, ``Gemm``, ``MaxPool``...
    kind: str
    inputs: tuple[str, ...]
    output: str
    #: Saturation bounds of the result (they are also ReLU, ReLU6 and Clip).
    low: int = -128
    high: int = 127

    @property
    def x(self) -> str:
        """Name of the first (often the only) input."""
        return self.inputs[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv(Op):
    """``y = sat(requantize(bias + sum((x - z_x) * w)) + z_y)``.

    Fully connected is a kernel as large as the map.

    Depthwise and grouped convolution have ``groups > 1`` and weights ``[o, kh, kw, i / groups]``.
    """

    weights: np.ndarray
    #: int32[o], *without* the input's zero point.
    bias: np.ndarray
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    #: Top, left, bottom, right; padding holds the input's zero point.
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransposedConv(Op):
    """``y = sat(requantize(bias + sum((x - z_x) * w)) + z_y)``, every input pixel spread by w.

    Input pixel i adds to the results ``i * stride + k * dilation - crop`` for each tap k; what
    falls outside ``size`` is lost.
    """

    #: int8[o, kh, kw, i / groups]
    weights: np.ndarray
    #: int32[o]
    bias: np.ndarray
    requant: Requant
    stride: tuple[int, int]
    #: Rows at the top and columns at the left that are cut off.
    crop: tuple[int, int] = (0, 0)
    #: Height and width of the result.
    size: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Select(Op):
    """``y[h, w, c] = x[rows[h], columns[w], channels[c]]``: slices, nearest resizing, broadcasts.

    Result and input have one scale and zero point.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concat(Op):
    """Feature maps side by side along an axis of (h, w, c).

    Part i becomes ``sat(requantize(x - z_x) + z_y)`` with element i of the rescaling.
    """

    axis: int
    requant: Requant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool(Op):
    """Maximum or average over windows; padding elements never take part.

    ``mode="max"``: result saturated to the bounds. ``mode="average"`` with ``requant=None``:
    TFLite's average, the sum of q divided by the count of valid elements, ties away from zero.
    With a ``requant``: ``sat(requantize(sum(q - z_x)) + z_y)``; its arrays have one element for
    windows that are all full, else ``kh * kw``, the last but k for windows that lack k elements.
    """

    mode: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    requant: Requant | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Add(Op):
    """TFLite's int8 ADD of two tensors of equal shape.

    ``sat(requantize(requantize((a - z_a) << 20, 0) + requantize((b - z_b) << 20, 1), 2) + z_y)``;
    the three rescalings have ``left == 0`` (arrays of length 3: a, b, sum). One of the operands',
    that of the larger scale, is exactly a half.
    """

    requant: Requant


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStep:
    """Work the host does on a model's input or output, or in the middle (:class:`Real`).

    ``kind``: ``quantize``, ``dequantize``, ``softmax``, ``log_softmax``,
    ``instance_normalization``, ``layer_normalization``, ``softmax_int8``, ``table``, ``add``,
    ``subtract``, ``multiply``, ``divide``, or one of :data:`systolith.sw.functions.FUNCTIONS`,
    whose attributes are ONNX's.
    ``attributes`` for quantize: ``ties_away`` (1: from zero, as TFLite rounds; else to even, as
    ONNX does); for softmax and log_softmax: ``axis`` (in the port's own batchless shape,
    negative); for normalizations: ``axes``, such axes, ``epsilon``, and ``scale`` and ``bias``,
    nested lists that broadcast against the port's own batchless shape; for the four of arithmetic:
    ``operand``, such lists; for softmax_int8, which reads and writes integers: ``beta``; for
    table, which does so too: ``levels``, the results of -128 to 127.
    """

    kind: str
    attributes: dict[str, float | list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HostOp(Op):
    """An operation that the host runs between two programs; see :mod:`systolith.sw.host`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table(HostOp):
    """Any function of one level: ``y = sat(levels[q + 128])``."""

    #: int8[256], the results of -128 to 127.
    levels: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mul(HostOp):
    """TFLite's int8 MUL of two tensors, axes of length 1 repeated.

    ``y = sat(requantize((a - z_a) * (b - z_b)) + z_y)``.
    """

    #: Arrays of length 1.
    requant: Requant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extreme(HostOp):
    """The larger or the smaller of two tensors of one scale, axes of length 1 repeated."""

    largest: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bilinear(HostOp):
    """Bilinear interpolation, TFLite's int8 RESIZE_BILINEAR or a closer one, on the input's scale.

    TFLite rounds the distance of two results to 1/1024 of a pixel and adds that up. An ``exact``
    one cuts off every position there, as ONNX's Resize needs it.
    """

    #: Height and width of the result.
    size: tuple[int, int]
    #: Corner pixels lie on corner pixels; pixels are squares, not points.
    corners: bool
    half: bool
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rearrange(HostOp):
    """``y[h, w, c] = x.flat[places[h, w, c]]``: what no selection, and so no device, can do.

    Result and input have one scale and zero point.
    """

    #: int64[h, w, c], places in the input's (h, w, c).
    places: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Real(HostOp):
    """What ONNX computes in float32 over more than one element: softmax, normalizations.

    The map as the model has it goes through the steps, which end with a ``quantize``, and lies as
    before.
    """

    #: The model's own batchless shape, and its axes in the order that gives h, w, c.
    shape: tuple[int, ...]
    permutation: tuple[int, ...]
    steps: tuple[HostStep, ...]
    #: Added to a uint8 result to make it int8: -128 or 0.
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Softmax(HostOp):
    """TFLite's int8 softmax of ``beta * x`` over the channels, on the scale 1/256 around -128."""

    beta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A model's input or output as its user sees it, and how it maps onto a tensor.

    Input: model array -> ``steps`` -> ``+ offset`` -> transpose by ``permutation`` -> reshape to
    the tensor's (h, w, c). Output: the tensor -> reshape to ``shape`` permuted -> inverse transpose
    -> ``- offset`` -> ``steps``. The batch axis is left out everywhere.
    """

    name: str
    tensor: str
    #: Shape in the model's own layout, without the batch.
    shape: tuple[int, ...]
    #: NumPy name of the model's own type: ``float32``, ``int8``, ``uint8``.
    dtype: str
    #: Axes of ``shape`` in the order that gives h, w, c.
    permutation: tuple[int, ...]
    steps: tuple[HostStep, ...] = ()
    #: Added to a uint8 model's integers to make them int8: -128 or 0.
    offset: int = 0


@dataclass(slots=True, kw_only=True)
class Graph:
    """A network: tensors by name, operations in execution order, its ports."""

    name: str
    tensors: dict[str, Tensor]
    ops: list[Op]
    inputs: list[Port]
    outputs: list[Port]
    #: What became of the model file's nodes, in its order; empty where there is no file.
    origins: list[Origin] = field(default_factory=list)

    def producer(self, tensor: str) -> Op | None:
        """Return the operation that writes ``tensor``, or None for a graph input."""
        return next((op for op in self.ops if op.output == tensor), None)

    def consumers(self, tensor: str) -> list[Op]:
        """Return the operations that read ``tensor``."""
        return [op for op in self.ops if tensor in op.inputs]

    def places(self, concat: Concat) -> list[tuple[int, int, int]]:
        """Return the row, column and channel at which each part of a concatenation begins."""
        places, place = [], [0, 0, 0]
        for name in concat.inputs:
            places.append(tuple(place))
            place[concat.axis] += self.tensors[name].shape[concat.axis]
        return places

    def macs(self, op: Op) -> int:
        """Multiply-accumulates of an operation (0 for those without weights).

        Of a transposed convolution those of its cropped results too.
        """
        if not isinstance(op, Conv | TransposedConv):
            return 0
        h, w, _ = self.tensors[op.output if isinstance(op, Conv) else op.x].shape
        return h * w * int(op.weights.size)
