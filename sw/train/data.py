"""Samples for training: checked, quantised, in a repeatable order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from systolith.sw.errors import DataError
from systolith.sw.train.gradients import Plan
from systolith.sw.train.scales import quantize
from systolith.sw.train.steps import CrossEntropy

__all__ = ["Samples", "batches", "largest_input", "prepare"]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs in steps of their exponent and what the network should make of them."""

    #: int16[n, h, w, c]
    x: np.ndarray
    #: int64[n] labels, or float64[n, h, w, c].
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def at(self, indices: np.ndarray, exponent: int) -> tuple[np.ndarray, np.ndarray]:
        """Return some samples; real targets in steps of ``2**exponent``."""
        targets = self.targets[indices]
        return self.x[indices], (quantize(targets, exponent) if targets.ndim > 1 else targets)


def largest_input(plan: Plan, x: np.ndarray) -> float:
    """Return the largest magnitude of inputs float[n, h, w, c].

    Raises
    ------
    DataError
        If the network reads another shape, there is none, or it holds no finite numbers.
    """
    network, x = plan.network, np.asarray(x)
    shape = network.shapes[network.input]
    if not len(x):
        raise DataError(f"{network.name}: there are no samples")
    if x.shape[1:] != shape:
        raise DataError(f"{network.name}: inputs are {_times(x.shape[1:])}, the network reads "
                        f"{_times(shape)} (height, width, channels)")
    if x.dtype.kind not in "fiu":
        raise DataError(f"{network.name}: inputs are of type {x.dtype}, not numbers")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"{network.name}: input {np.argmin(finite)} holds NaN or infinity")
    return float(np.abs(x).max())


def prepare(plan: Plan, x: np.ndarray, targets: np.ndarray, exponent: int) -> Samples:
    """Check samples against a plan and quantise their inputs.

    Parameters
    ----------
    plan : Plan
        What is to be trained.
    x : float[n, h, w, c]
        Inputs.
    targets : int[n] or float[n, ...]
        Labels for the cross-entropy, outputs for the squared error.
    exponent : int
        Of the input's steps.

    Raises
    ------
    DataError
        If shapes do not match the network, a label is out of range or a number is not finite.
    """
    network = plan.network
    result = network.shapes[network.output]
    x, targets = np.asarray(x), np.asarray(targets)
    largest_input(plan, x)
    if len(x) != len(targets):
        raise DataError(f"{network.name}: {len(x)} inputs with {len(targets)} targets")
    if isinstance(plan.loss, CrossEntropy):
        classes = result[0] * result[1] * result[2]
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise DataError(f"{network.name}: the cross-entropy needs one whole number a sample, "
                            f"not {targets.dtype} of shape {_times(targets.shape)}")
        wrong = np.flatnonzero((targets < 0) | (targets >= classes))
        if wrong.size:
            raise DataError(f"{network.name}: label {targets[wrong[0]]} of sample {wrong[0]} is "
                            f"outside 0..{classes - 1}")
        return Samples(quantize(x, exponent), targets.astype(np.int64))
    if targets[0].size != np.prod(result) or not np.isfinite(targets).all():
        raise DataError(f"{network.name}: targets must be finite numbers of shape "
                        f"{_times(result)} a sample, not {_times(targets.shape[1:])}")
    return Samples(quantize(x, exponent), targets.reshape(-1, *result).astype(np.float64))


def batches(samples: int, batch: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Yield the indices of an epoch's batches; what does not fill one waits for another epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    for start in range(0, samples - batch + 1, batch):
        yield order[start:start + batch]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "single numbers"
