"""The fixed-point softmax against LiteRT's reference kernel."""

import numpy as np
import pytest

from systolith.sw.softmax import softmax_int8
from tests.tflite_models import Model, reference


@pytest.mark.parametrize("seed", range(24))
def test_as_the_reference_kernel(seed):
    """Near rounding's ties a softmax in float32 differs in one row of ten thousand."""
    m = Model(np.random.default_rng(seed))
    n = int(m.rng.choice([1, 2, 3, 5, 8, 100]))
    scale = float(np.float32(np.exp(m.rng.uniform(-12, 2))))
    beta = float(m.rng.choice([1, 1, 0.5, 2]))
    x = m.map((200, 1, n), scale=scale)
    y = m.map((200, 1, n), scale=1 / 256, zero_point=-128)
    m.op("SOFTMAX", [x], y, "SoftmaxOptions", Beta=beta)
    levels = m.rng.integers(-128, 128, (10, 200, 1, n)) // int(m.rng.integers(1, 20))
    levels = levels.astype(np.int8)
    expected, = reference(m.finish([x], [y]), levels)
    np.testing.assert_array_equal(softmax_int8(levels, scale, beta), expected)
