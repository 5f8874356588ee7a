"""Host operations in NumPy: what runs between two programs, a batch at a time.

The one place that executes a :class:`systolith.sw.ir.HostOp`: golden model and driver call it.

References
----------
TensorFlow Lite ``reference/integer_ops/{lut,mul}.h``; softmax: :mod:`systolith.sw.ports`.
"""

import numpy as np

from systolith.sw.ir import HostOp, Mul, Softmax, Table, Tensor
from systolith.sw.numerics import requantize, saturate
from systolith.sw.ports import softmax_int8

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
        case Softmax():
            result = softmax_int8(operands[0], inputs[0].scale, op.beta, output.scale,
                                  output.zero_point)
        case _:
            raise TypeError(f"the host does not know {type(op).__name__}")
    return saturate(result, op.low, op.high).astype(np.int8)
