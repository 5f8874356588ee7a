"""Powers of two by a table: numbers alone, for the loss unit and what defines its arithmetic."""

import math

__all__ = ["FRACTION_BITS", "INDEX_BITS", "LOG2E", "TABLE"]

#: Fraction bits of a power, and of a probability.
FRACTION_BITS = 15
#: Fraction bits of an exponent, which look a power up.
INDEX_BITS = 10
#: ``2**-(i / 1024)`` for every i.
TABLE = tuple(round(2.0 ** (FRACTION_BITS - i / (1 << INDEX_BITS))) for i in range(1 << INDEX_BITS))
#: log2(e) with 15 fraction bits.
LOG2E = round(math.log2(math.e) * (1 << 15))
