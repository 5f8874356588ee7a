"""ADD, SUB and MUL by a constant.

References
----------
``tensorflow/lite/kernels/{add,sub,mul}.cc`` and
``tensorflow/lite/kernels/internal/reference/{integer_ops/add,integer_ops/mul,sub}.h``.
"""

import numpy as np

from systolith.sw.importer.builder import Builder, Slot
from systolith.sw.importer.drafts import AddDraft, Clamp, ConvDraft, pass_through
from systolith.sw.importer.elementwise import per_channel
from systolith.sw.importer.tflite.drafts import ProductDraft, fit_products
from systolith.sw.importer.tflite.operation import Operation, add_draft, check_size
from systolith.sw.importer.values import Activation, Quantization, Value
from systolith.sw.numerics import ADD_LEFT_SHIFT, quantize_multiplier, requantize

__all__ = ["HANDLERS", "add_maps", "as_read", "constant_levels", "constant_map", "product",
           "scale_channels"]


def add(builder: Builder, node: Operation) -> Value:
    """Import ADD of two feature maps, or of one and a number for each channel."""
    return add_maps(builder, node, *_pair(builder, node))


def subtract(builder: Builder, node: Operation) -> Value:
    """Import SUB: an ADD of the second operand's negative, which is exact in int8.

    ``~q`` with the zero point ``~z`` stands for ``-(q - z)``. TFLite negates after rescaling; that
    this makes no difference to the result is checked for all pairs of levels.
    """
    a, b = _pair(builder, node)
    source = builder.slot(b).cell.value
    if not _negation_commutes(builder.slot(a).cell.value, source, node.quantization()):
        node.refuse("its second operand's scale rounds to other results when negated",
                    "quantise the model again")
    slot = builder.pin_naturally(node, b)
    draft = ConvDraft(**builder.labels(node, slot.name),
                      **pass_through(slot.shape[2], source.scale, sign=-1))
    negative = add_draft(builder, node, draft, slot.shape,
                         Quantization(source.scale, -1 - source.zero_point))
    return add_maps(builder, node, a, as_read(negative, slot, b))


def _negation_commutes(a: Quantization, b: Quantization, result: Quantization) -> bool:
    """Tell whether ``a - b`` and ``a + (-b)`` have the same rounded results."""
    twice = 2 * max(a.scale, b.scale)
    whole_sum = twice / (result.scale * (1 << ADD_LEFT_SHIFT))
    if whole_sum >= 1:
        return True  # the addition will be refused
    factors = [quantize_multiplier(factor) for factor in (
        a.scale / twice, b.scale / twice, whole_sum)]
    lifted = [(np.arange(-128, 128) - x.zero_point) << ADD_LEFT_SHIFT for x in (a, b)]
    left = requantize(lifted[0], *factors[0])[:, None]
    after, before = -requantize(lifted[1], *factors[1]), requantize(-lifted[1], *factors[1])
    return np.array_equal(requantize(left + after, *factors[2]),
                          requantize(left + before, *factors[2]))


def _pair(builder: Builder, node: Operation) -> list[Activation]:
    """Return both operands as maps of one shape: the smaller repeated, constants written."""
    for index in (0, 1):
        if not isinstance(node.operand(index), Activation):
            x = builder.whole(node, node.feature_map(1 - index))
            pair = [x, x]
            pair[index] = constant_map(builder, node, x, index)
            return pair
    a, b = node.feature_map(0), node.feature_map(1)
    advice = "maps can be added where their axes agree or are 1"
    if len(a.shape) != len(b.shape) and builder.batch != 1:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        node.refuse(f"its operands have the shapes {a.shape} and {b.shape}", advice)
    check_size(node, *shape)
    maps = [builder.whole(node, x) for x in (a, b)]
    return [x if x.shape == shape else builder.whole(
        node, x.rearranged(np.broadcast_to(x.elements, shape))) for x in maps]


def constant_map(builder: Builder, node: Operation, x: Activation, index: int) -> Activation:
    """Return a map like x that has one level in each channel: a convolution's bias."""
    levels, quantization = constant_levels(builder, node, x, index)
    slot = builder.slot(x)
    draft = ConvDraft(**builder.labels(node, slot.name) | {"kind": "constant"}, **pass_through(
        slot.shape[2], quantization.scale, sign=0) | {"bias": levels - quantization.zero_point})
    return as_read(add_draft(builder, node, draft, slot.shape, quantization), slot, x)


def constant_levels(builder: Builder, node: Operation, x: Activation,
              index: int) -> tuple[np.ndarray, Quantization]:
    """Return an int8 operand that is one number for each channel of x: levels int64[c]."""
    tensor = node.tensors[index] if index < len(node.tensors) else None
    if tensor is None or tensor.data is None:
        node.refuse(f"its operand {index} is no constant", "convert the model again")
    quantization = node.quantization_of(tensor)
    return per_channel(builder, node, x, tensor.data).astype(np.int64), quantization


def scale_channels(builder: Builder, node: Operation, index: int) -> Activation | None:
    """Return a map times the constant that is operand ``index``, None if no weights do that."""
    x = builder.whole(node, node.feature_map(1 - index))
    return _product(builder, node, x, index, node.clamps())


def product(builder: Builder, node: Operation, x: Activation, index: int,
            clamps: list[Clamp]) -> Activation:
    """Return a map times the constant that is operand ``index``, one number for each channel."""
    found = _product(builder, node, x, index, clamps)
    if found is None:
        node.refuse("its constant is further from its zero point than int8 weights reach",
                    "quantise the constant with a zero point of 0, or fold it into the "
                    "convolution before")
    return found


def _product(builder: Builder, node: Operation, x: Activation, index: int,
             clamps: list[Clamp]) -> Activation | None:
    levels, quantization = constant_levels(builder, node, x, index)
    slot = builder.slot(x)
    with np.errstate(over="ignore"):
        factor = float(np.float32(slot.cell.value.scale) * np.float32(quantization.scale)
                       / np.float32(node.quantization().scale))
    try:
        fitted = fit_products(levels - quantization.zero_point, factor, slot.cell.value.zero_point)
    except ValueError as error:
        node.refuse(str(error), "quantise the model again")
    if fitted is None:
        return None
    weights, rescaling = fitted
    draft = ProductDraft(
        **builder.labels(node, slot.name), clamps=clamps, rescaling=rescaling,
        **pass_through(slot.shape[2], 1.0) | {"weights": weights.reshape(-1, 1, 1, 1)})
    return as_read(add_draft(builder, node, draft, slot.shape), slot, x)


def add_maps(builder: Builder, node: Operation, a: Activation, b: Activation) -> Activation:
    """Return the sum of two maps of one shape."""
    a, b = builder.aligned(node, a, b)
    slot = builder.slot(a)
    draft = AddDraft(**builder.labels(node, a.tensor, b.tensor), clamps=node.clamps())
    return as_read(add_draft(builder, node, draft, slot.shape), slot, a)


def as_read(result: Activation, slot: Slot, x: Activation) -> Activation:
    """Return a result that lies in memory as ``x`` does, in its order."""
    return result.rearranged(result.elements.ravel()[slot.places[x.elements]])


HANDLERS = {"ADD": add, "SUB": subtract}
