"""Dilated convolutions as converters of a model with an open batch spell them, made whole again.

SPACE_TO_BATCH_ND takes every d-th row and column as an image of its own, a plain convolution reads
those, BATCH_TO_SPACE_ND puts them together: a convolution of dilation d.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from systolith.sw.importer.tflite.file import Operator, TensorInfo, TFLiteFile

__all__ = ["joined"]

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_VALID = 1


def joined(file: TFLiteFile) -> list[Operator]:
    """Return the operators, three that make a dilated convolution as one.

    It has the additional option ``Pads``: zeros at the top, left, bottom and right.
    """
    operators = list(file.operators)
    uses = Counter(i for op in operators for i in op.inputs)
    uses.update(file.outputs)
    writers = {i: op for op in operators for i in op.outputs}
    for last in file.operators:
        inner = last.kind == "BATCH_TO_SPACE_ND" and writers.get(last.inputs[0])
        first = inner and inner.kind in _CONVOLUTIONS and writers.get(inner.inputs[0])
        if not first or first.kind != "SPACE_TO_BATCH_ND":
            continue
        whole = _whole(file.tensors, first, inner, last)
        if whole is not None and uses[first.outputs[0]] == uses[inner.outputs[0]] == 1:
            operators[operators.index(last)] = whole
            operators.remove(first)
            operators.remove(inner)
    return operators


def _whole(tensors: list[TensorInfo], first: Operator, inner: Operator,
           last: Operator) -> Operator | None:
    """Return three operators as one; None if they are not what they seem."""
    block, pads, same_block, crops = (
        tensors[i].data for op in (first, last) for i in op.inputs[1:3])
    grids = [(tuple(tensors[i].scale), tuple(tensors[i].zero_point)) for i in (
        first.inputs[0], first.outputs[0], inner.outputs[0], last.outputs[0])]
    if any(array is None for array in (block, pads, same_block, crops)) or block.shape != (2,) or (
            not np.array_equal(block, same_block) or pads.shape != (2, 2) != crops.shape):
        return None
    options, zeros = inner.options, (pads - crops).T.ravel()
    plain = options["StrideH"] == options["StrideW"] == 1 == options["DilationHFactor"] == (
        options["DilationWFactor"])
    if not plain or options["Padding"] != _VALID or (zeros < 0).any() or crops[:, 0].any() or (
            grids[0] != grids[1] or grids[2] != grids[3]):
        return None
    return replace(
        inner, inputs=(first.inputs[0], *inner.inputs[1:]), outputs=last.outputs,
        options=options | {"DilationHFactor": int(block[0]), "DilationWFactor": int(block[1]),
                           "Pads": tuple(int(n) for n in zeros)})
