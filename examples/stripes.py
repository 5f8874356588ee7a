"""Pictures for the examples that train in seconds: in which direction do the stripes run?"""

import numpy as np

__all__ = ["CLASSES", "stripes"]

CLASSES = ("across", "down", "rising", "falling")
_SIZE = 16


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy pictures float32[n, 16, 16] of -1 to 1, and which of ``CLASSES`` int64[n]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), count)
    y, x = np.mgrid[:_SIZE, :_SIZE]
    along = np.stack([y, x, (x + y) / 2 ** 0.5, (x - y) / 2 ** 0.5])[labels]
    period = rng.uniform(3, 6, (count, 1, 1))
    waves = np.sin(2 * np.pi * (along / period + rng.uniform(0, 1, (count, 1, 1))))
    noise = rng.normal(0, 0.3, waves.shape)
    return np.clip(0.7 * waves + noise, -1, 1).astype(np.float32), labels
