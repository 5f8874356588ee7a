"""SHAPE, STRIDED_SLICE, PACK and CONCATENATION of sizes: how converters spell an open batch."""

import numpy as np

from systolith.sw.importer.builder import Builder
from systolith.sw.importer.tflite.operation import Operation
from systolith.sw.importer.values import Activation, Constant, Value

__all__ = ["HANDLERS", "concatenation_of_sizes", "slice_of_sizes"]


def shape(builder: Builder, node: Operation) -> Value:
    """Import SHAPE: the sizes are constants."""
    x = node.operand(0)
    if not isinstance(x, Activation):
        node.refuse("its operand is a constant", "convert the model again")
    return Constant(np.array([builder.batch, *x.shape], np.int32))


def slice_of_sizes(node: Operation) -> Value:
    """Import STRIDED_SLICE of a list of sizes."""
    value = node.operand(0)
    if not isinstance(value, Constant) or value.array.ndim != 1:
        node.refuse("it slices a constant", "convert the model again")
    bounds = [node.whole_numbers(i, what) for i, what in
              ((1, "begin"), (2, "end"), (3, "stride"))]
    masks = [node.attribute(name) for name in ("EllipsisMask", "NewAxisMask")]
    if any(masks) or any(len(bound) != 1 for bound in bounds) or bounds[2][0] == 0:
        node.refuse("it slices a list of sizes in an unusual way", "convert the model with fixed "
                    "shapes")
    (begin,), (end,), (stride,) = bounds
    begin = None if node.attribute("BeginMask") else begin
    if node.attribute("ShrinkAxisMask"):
        picked = value.array[begin or 0:][:1]
        if not picked.size:
            node.refuse("it slices beyond the end of a list of sizes", "correct the model")
        return Constant(picked[0])
    return Constant(value.array[begin:None if node.attribute("EndMask") else end:stride])


def pack(builder: Builder, node: Operation) -> Value:
    """Import PACK of sizes."""
    if not all(isinstance(value, Constant) and value.array.ndim == 0 for value in node.inputs):
        node.refuse("stacking feature maps is not supported", "use CONCATENATION")
    return Constant(np.array([value.array for value in node.inputs]))


def concatenation_of_sizes(node: Operation) -> Value:
    """Import CONCATENATION of lists of sizes."""
    parts = [value.array for value in node.inputs]
    if any(part.ndim != 1 or part.dtype.kind not in "iu" for part in parts):
        node.refuse("it joins constants", "convert the model again, which folds them")
    return Constant(np.concatenate(parts))


HANDLERS = {"SHAPE": shape, "PACK": pack}
