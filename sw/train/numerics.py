"""The integer semantics of training, written once: exact sums, one shift, one rounding.

Golden model, machine and compiler call these functions; the RTL is to equal them bit for bit.
Tensors are int16 with a value of ``q * 2**exponent``; see ``docs/decisions/0012-training.md``.

References
----------
Gupta et al. 2015, "Deep Learning with Limited Numerical Precision" (stochastic rounding);
Beaulieu et al. 2013, "The SIMON and SPECK Families of Lightweight Block Ciphers" (Speck32);
Marsaglia 2003, "Xorshift RNGs" (the seed).
"""

import math

import numpy as np

__all__ = [
    "ACCUMULATOR_BITS", "FRACTION_BITS", "HIGH", "LOW", "MAX_SHIFT", "MAX_TERMS", "coefficient",
    "draw", "exp2_table", "magnitude_bits", "next_seed", "nearest", "rectified_saturations",
    "saturate", "softmax", "stochastic",
]

#: Least and greatest value of an element.
LOW, HIGH = -(1 << 15), (1 << 15) - 1
#: Width of an accumulator.
ACCUMULATOR_BITS = 48
#: Products of two elements that an accumulator holds for certain.
MAX_TERMS = 1 << ACCUMULATOR_BITS - 1 - 30
#: Largest shift, left of an addend or right of a sum.
MAX_SHIFT = 31
#: Fraction bits of a probability and of the gradient of the cross-entropy.
FRACTION_BITS = 15
