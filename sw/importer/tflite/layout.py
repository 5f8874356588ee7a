"""RESHAPE, SQUEEZE, EXPAND_DIMS, TRANSPOSE, TILE and PAD: what only moves elements."""

from collections.abc import Callable

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.tflite.operation import Operation, check_size
from systolith.sw.importer.values import PADDING, Activation, State, Value

__all__ = ["HANDLERS", "arranged"]

_BATCH = "the batch must stay the first dimension"


def arranged(arrange: Callable[[Builder, Operation, np.ndarray], np.ndarray]
             ) -> Callable[[Builder, Operation], Value]:
    """Return the handler of an operator that rearranges ``elements``, batchless int64[...]."""
    def handler(builder: Builder, node: Operation) -> Value:
        x = node.operand(0)
        if not isinstance(x, Activation) or x.state is not State.RAW:
            x = node.feature_map()
            if builder.slot(x).cell.value != node.quantization():
                node.refuse("its result has another scale than its input", "put a QUANTIZE "
                            "before it, or convert the model again")
        return x.rearranged(arrange(builder, node, x.elements))
    return handler


def reshape(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Reshape, -1 resolved."""
    target = node.whole_numbers(1, "shape") if node.operand(1) is not None else list(
        node.result.shape)
    size = builder.batch * elements.size
    known = int(np.prod([n for n in target if n != -1], dtype=np.int64))
    if target.count(-1) > 1 or known <= 0 or size % known or (-1 not in target and known != size):
        node.refuse(f"{[builder.batch, *elements.shape]} does not reshape to {target}",
                    "correct the model")
    target = [size // known if n == -1 else n for n in target]
    if target[0] != builder.batch:
        node.refuse(f"it reshapes {[builder.batch, *elements.shape]} to {target}", _BATCH)
    return elements.reshape(target[1:])


def squeeze(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Remove axes of length 1: those named, or all but the batch."""
    rank = elements.ndim + 1
    axes = [axis % rank for axis in node.attribute("SqueezeDims")]
    if not axes and builder.batch == 1:
        node.refuse("it names no axes and would remove a batch of 1 too", "give it axes")
    axes = axes or [i for i, n in enumerate(elements.shape, 1) if n == 1]
    if 0 in axes or any(elements.shape[axis - 1] != 1 for axis in axes):
        node.refuse(f"it removes the axes {axes} of {['n', *elements.shape]}",
                    _BATCH + " and only axes of length 1 can go")
    return elements.squeeze(tuple({axis - 1 for axis in axes}))


def expand_dims(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Insert an axis of length 1."""
    axes = node.whole_numbers(1, "axis")
    axis = axes[0] % (elements.ndim + 2)
    if len(axes) != 1 or axis == 0:
        node.refuse(f"it inserts the axes {axes}", _BATCH)
    return np.expand_dims(elements, axis - 1)


def transpose(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Transpose, the batch kept first."""
    order = node.whole_numbers(1, "permutation")
    if sorted(order) != list(range(elements.ndim + 1)) or order[0] != 0:
        node.refuse(f"it permutes the axes to {order}", _BATCH)
    return elements.transpose([axis - 1 for axis in order[1:]])


def pad(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Pad with the zero point; the next operator takes it over."""
    widths = np.array(node.whole_numbers(1, "list of pads"))
    if widths.size != 2 * (elements.ndim + 1):
        node.refuse(f"it has {widths.size} pads for {elements.ndim + 1} axes", "correct the model")
    widths = widths.reshape(-1, 2)
    if widths[0].any() or (widths < 0).any():
        node.refuse("it pads the batch or cuts elements off", "pad height and width only")
    if node.operand(2) is not None:
        value = node.tensors[2].data
        if value is None or value.size != 1 or value.item() != node.quantization().zero_point:
            node.refuse("it pads with another number than zero", "only padding with the zero "
                        "point (real zero) is supported")
    check_size(node, *(widths[1:].sum(axis=1) + elements.shape))
    return np.pad(elements, widths[1:], constant_values=PADDING)


def mirror_pad(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Pad with what lies beside the edge: MIRROR_PAD."""
    widths = np.array(node.whole_numbers(1, "list of pads"))
    mode = {0: "reflect", 1: "symmetric"}.get(node.attribute("Mode"))
    if widths.size != 2 * (elements.ndim + 1) or mode is None:
        node.refuse(f"it has {widths.size} pads for {elements.ndim + 1} axes", "correct the model")
    widths = widths.reshape(-1, 2)
    room = np.array(elements.shape)[:, None] - (mode == "reflect")
    if widths[0].any() or (widths < 0).any() or (widths[1:] > room).any():
        node.refuse("it pads the batch, or with more than there is", "correct the model")
    return np.pad(elements, widths[1:], mode=mode)


def tile(builder: Builder, node: Operation, elements: np.ndarray) -> np.ndarray:
    """Repeat a map along axes; with RESHAPE behind it that is how converters spell UpSampling2D."""
    counts = node.whole_numbers(1, "list of counts")
    if len(counts) != elements.ndim + 1 or min(counts) < 1 or counts[0] != 1:
        node.refuse(f"it repeats the axes {counts} times", _BATCH)
    check_size(node, *(np.array(counts[1:]) * elements.shape))
    return np.tile(elements, counts[1:])


HANDLERS = {
    "RESHAPE": arranged(reshape),
    "SQUEEZE": arranged(squeeze),
    "EXPAND_DIMS": arranged(expand_dims),
    "TRANSPOSE": arranged(transpose),
    "PAD": arranged(pad),
    "PADV2": arranged(pad),
    "MIRROR_PAD": arranged(mirror_pad),
    "TILE": arranged(tile),
}
