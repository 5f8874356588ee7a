"""Dilated convolutions as converters spell them, made whole again.

SPACE_TO_BATCH_ND takes every d-th row and column as an image of its own, a plain convolution reads
those, BATCH_TO_SPACE_ND puts them together: a convolution of dilation d. A sequence is given a
height, by EXPAND_DIMS, just before the convolution, and loses it, by RESHAPE, just behind.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from systolith.sw.importer.tflite.file import Operator, TensorInfo, TFLiteFile

__all__ = ["joined"]

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
#: Kinds of the operators, each the first operand of the next: of maps and of sequences.
_CHAINS = (
    (("SPACE_TO_BATCH_ND",), _CONVOLUTIONS, ("BATCH_TO_SPACE_ND",)),
    (("SPACE_TO_BATCH_ND",), ("EXPAND_DIMS",), _CONVOLUTIONS, ("RESHAPE",), ("BATCH_TO_SPACE_ND",)),
)
_VALID = 1


def joined(file: TFLiteFile) -> TFLiteFile:
    """Return the file, every chain of operators that is a dilated convolution as that one.

    It has the additional option ``Pads``: zeros at the top, left, bottom and right. A sequence
    keeps the operators that give and take the height, around the whole of it.
    """
    operators, tensors = list(file.operators), list(file.tensors)
    uses = Counter(i for op in operators for i in op.inputs)
    uses.update(file.outputs)
    writers = {i: op for op in operators for i in op.outputs}
    for last in file.operators:
        chain = _chain(writers, last)
        if any(uses[op.outputs[0]] != 1 for op in chain[:-1]):
            continue
        whole = _whole(tensors, chain) if chain else []
        if len(chain) > 3 and whole:
            whole = _around(tensors, chain, *whole)
        if not whole:
            continue
        at = operators.index(last)
        operators[at:at + 1] = whole
        for op in chain[:-1]:
            operators.remove(op)
    return replace(file, operators=operators, tensors=tensors)


def _chain(writers: dict[int, Operator], last: Operator) -> list[Operator]:
    """Return the operators up to ``last`` that may be a dilated convolution; else none."""
    for kinds in _CHAINS:
        chain = [last] if last.kind in kinds[-1] else []
        for wanted in kinds[-2::-1]:
            before = writers.get(chain[0].inputs[0]) if chain and chain[0].inputs else None
            chain = [before, *chain] if before and before.kind in wanted else []
        if chain:
            return chain
    return []


def _whole(tensors: list[TensorInfo], chain: list[Operator]) -> list[Operator]:
    """Return a chain's convolution as the dilated one; nothing if it is not what it seems."""
    first, inner, last = chain[0], chain[len(chain) // 2], chain[-1]
    dimensions = 2 if len(chain) == 3 else 1
    if any(len(op.inputs) != 3 or None in op.inputs for op in (first, last)):
        return []
    block, pads, same_block, crops = (
        tensors[i].data for op in (first, last) for i in op.inputs[1:3])
    grids = [(tuple(tensors[i].scale), tuple(tensors[i].zero_point))
             for i in (first.inputs[0], *(op.outputs[0] for op in chain))]
    half = len(grids) // 2
    if any(array is None for array in (block, pads, same_block, crops)) or (
            block.shape != (dimensions,) or not np.array_equal(block, same_block)) or (
            pads.shape != (dimensions, 2) != crops.shape):
        return []
    zeros = pads - crops
    options = inner.options
    plain = options["StrideH"] == options["StrideW"] == 1 == options["DilationHFactor"] == (
        options["DilationWFactor"])
    if not plain or options["Padding"] != _VALID or (zeros < 0).any() or crops[:, 0].any() or (
            len({*grids[:half]}) != 1 or len({*grids[half:]}) != 1):
        return []
    (top, bottom), (left, right) = [[0, 0]] * (2 - dimensions) + zeros.tolist()
    down, across = [1] * (2 - dimensions) + block.tolist()
    return [replace(
        inner, inputs=(first.inputs[0], *inner.inputs[1:]), outputs=last.outputs,
        options=options | {"DilationHFactor": down, "DilationWFactor": across,
                           "Pads": (top, left, bottom, right)})]


def _around(tensors: list[TensorInfo], chain: list[Operator], whole: Operator) -> list[Operator]:
    """Return what gives a sequence its height, the convolution and what takes it; else nothing.

    The maps between become as long as the sequences outside.
    """
    first, expand, inner, reshape, last = chain
    axis = tensors[expand.inputs[-1]].data
    convolved, flat = (tensors[op.outputs[0]].shape[1:] for op in (inner, reshape))
    if axis is None or axis.size != 1 or axis.item() % 4 != 1 or convolved != (1, *flat):
        return []
    for inside, outside in ((expand.outputs[0], first.inputs[0]),
                            (inner.outputs[0], last.outputs[0])):
        shape, signature = ((*n[:1], 1, *n[1:]) for n in (
            tensors[outside].shape, tensors[outside].signature))
        tensors[inside] = replace(tensors[inside], shape=shape, signature=signature)
    return [replace(expand, inputs=(first.inputs[0], *expand.inputs[1:])),
            replace(whole, inputs=(expand.outputs[0], *whole.inputs[1:]), outputs=inner.outputs),
            replace(reshape, inputs=inner.outputs, outputs=last.outputs)]
