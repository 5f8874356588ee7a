"""Host operations in NumPy: what runs between two programs, a batch at a time.

The one place that executes a :class:`systolith.sw.ir.HostOp`: golden model and driver call it.

References
----------
TensorFlow Lite ``reference/integer_ops/{lut,mul}.h``, ``reference/resize_bilinear.h``; softmax:
:mod:`systolith.sw.softmax`.
"""

import numpy as np

from systolith.sw import ports
from systolith.sw.ir import (
    Bilinear,
    Extreme,
    HostOp,
    Mul,
    Real,
    Rearrange,
    Softmax,
    Table,
    Tensor,
)
from systolith.sw.numerics import requantize, saturate
from systolith.sw.softmax import softmax_int8

__all__ = ["run"]


def run(op: HostOp, operands: list[np.ndarray], inputs: list[Tensor],
        output: Tensor) -> np.ndarray:
    """Return the result of a host operation, int8[n, h, w, c].

    Parameters
    ----------
    op : HostOp
        The operation.
    operands : list of int8[n, h, w, c]
        Its operands.
    inputs, output : Tensor
        Scales and zero points of operands and result.
    """
    match op:
        case Table():
            result = op.levels[operands[0].astype(np.int16) + 128]
        case Mul():
            a, b = (x.astype(np.int64) - tensor.zero_point
                    for x, tensor in zip(operands, inputs, strict=True))
            requant = op.requant
            result = output.zero_point + requantize(
                a * b, requant.multiplier, requant.left, requant.right)
        case Extreme():
            result = (np.maximum if op.largest else np.minimum)(*operands)
        case Bilinear():
            result = _resize(op, operands[0].astype(np.int64))
        case Rearrange():
            x, = operands
            result = x.reshape(len(x), -1)[:, op.places]
        case Real():
            values = ports.apply(
                op.steps, ports.seen(operands[0], op.permutation, op.shape), inputs[0])
            result = ports.laid(values + op.offset, op.permutation, output)
        case Softmax():
            result = softmax_int8(operands[0], inputs[0].scale, op.beta)
        case _:
            raise TypeError(f"the host does not know {type(op).__name__}")
    return saturate(result, op.low, op.high).astype(np.int8)


def _resize(op: Bilinear, x: np.ndarray) -> np.ndarray:
    """Return the pixels int64[n, h, w, c] between those of x: 10 bits behind the point each way."""
    for axis, size in enumerate(op.size, 1):
        before, after, share = _between(x.shape[axis], size, op)
        share = share.reshape(-1, *[1] * (3 - axis))
        x = x.take(before, axis) * (1024 - share) + x.take(after, axis) * share
    return np.sign(x) * (np.abs(x) + (1 << 19) >> 20)


def _between(length: int, size: int, op: Bilinear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each of ``size`` results the two elements around it, and 1024ths of the second."""
    old, new = (length - 1, size - 1) if op.corners and size > 1 else (length, size)
    if op.exact:
        at = 512 * old * (2 * np.arange(size) + op.half) // new - 512 * op.half
    else:
        step = (1024 * old + new // 2) // new
        at = np.arange(size) * step + (step // 2 - 512 if op.half else 0)
    before = np.maximum(at, 0) >> 10
    after = np.minimum(np.maximum(at + 1023, 0) >> 10, length - 1)
    return before, after, at - 1024 * before
