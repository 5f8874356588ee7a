"""The register of the zoo: for every network its file, its data and what it should reach."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systolith.examples import datasets
from systolith.examples.datasets import Dataset
from systolith.sw.errors import DataError

__all__ = ["ZOO", "Entry", "Metric", "accuracy", "find_entry", "normalised_mean_error"]

_FOLDER = Path(__file__).parent
#: Outer corners of the eyes among the 68 points.
_EYES = (36, 45)


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows [n, classes] whose largest element is at the label uint8[n]."""
    return float((outputs.argmax(axis=1) == labels).mean())


def normalised_mean_error(outputs: np.ndarray, points: np.ndarray) -> float:
    """Return the mean distance of points, as a share of that between the outer eye corners.

    Parameters
    ----------
    outputs : float32[n, 136]
        x and y of each point in turn, in pixels.
    points : float32[n, 68, 2]
        Where they are.

    References
    ----------
    Sagonas et al. 2013, "300 Faces in-the-Wild Challenge", the normalised error.
    """
    distances = np.linalg.norm(outputs.reshape(points.shape) - points, axis=2).mean(axis=1)
    left, right = (points[:, corner] for corner in _EYES)
    return float((distances / np.linalg.norm(left - right, axis=1)).mean())


@dataclass(frozen=True, slots=True)
class Metric:
    """How good answers are, and how good they must be."""

    name: str
    #: From outputs [n, ...] and targets [n, ...] to a share.
    measure: Callable[[np.ndarray, np.ndarray], float]
    bar: float
    #: Whether less is better.
    is_error: bool = False

    def met(self, value: float) -> bool:
        """Tell whether a value reaches the bar."""
        return value <= self.bar if self.is_error else value >= self.bar

    def describe(self, outputs: np.ndarray, targets: np.ndarray) -> str:
        """Return name and value for people."""
        return f"{self.name} {self.measure(outputs, targets):.2%}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One network of the zoo."""

    name: str
    task: str
    #: Ending of the model file.
    suffix: str = ".onnx"
    #: File name of the data set and its reader; None for random weights, which know nothing.
    data: str | None = None
    read: Callable[[Path], Dataset] | None = None
    metric: Metric | None = None

    @property
    def path(self) -> Path:
        """The int8 model."""
        return _FOLDER / self.name / f"{self.name}_int8{self.suffix}"

    @property
    def float_path(self) -> Path:
        """The model before quantisation; training writes it, few entries ship it."""
        return _FOLDER / self.name / f"{self.name}_float.onnx"

    def dataset(self, folder: Path) -> Dataset | None:
        """Read the data set from a folder; None if the entry has none.

        Raises
        ------
        DataError
            If the file is missing or another one.
        """
        return self.read(folder / self.data) if self.read else None


def _classes(bar: float) -> Metric:
    return Metric("accuracy", accuracy, bar)


#: Every network by name.
ZOO: dict[str, Entry] = {entry.name: entry for entry in (
    Entry(name="lenet", task="handwritten digits", data="mnist.npz", read=datasets.mnist,
          metric=_classes(0.99)),
    Entry(name="faces", task="face recognition", data="orl_faces.npz", read=datasets.orl_faces,
          metric=_classes(0.95)),
    Entry(name="keypoints", task="facial keypoints", data="facial_keypoints68_96x96.npz",
          read=datasets.facial_keypoints,
          metric=Metric("error", normalised_mean_error, 0.06, is_error=True)),
    Entry(name="gestures", task="hand gestures", data="sign_digits_64x64.npz",
          read=datasets.sign_digits, metric=_classes(0.95)),
    Entry(name="spoken_digits", task="spoken digits", data="fsdd_spoken_digits.npz",
          read=datasets.spoken_digits, metric=_classes(0.95)),
    Entry(name="mnist1d", task="1-D sequences", data="mnist1d.npz", read=datasets.mnist1d,
          metric=_classes(0.90)),
    Entry(name="resnet8", task="image classification", suffix=".tflite",
          data="cifar10_test_jpegq75.npz", read=datasets.cifar10_test,
          metric=_classes(0.75)),                # of pictures that went through JPEG
    Entry(name="dscnn", task="keyword spotting", suffix=".tflite", data="kws_mfcc_1000.npz",
          read=datasets.keyword_mfccs, metric=_classes(0.90)),
    Entry(name="mobilenetv1_025", task="person detection (random weights)"),
    Entry(name="autoencoder", task="anomaly detection (random weights)"),
)}


def find_entry(name: str) -> Entry:
    """Return the entry called ``name``.

    Raises
    ------
    DataError
        If there is none; the message lists what there is.
    """
    if name not in ZOO:
        raise DataError(f"no network {name!r} in the zoo; there are: {', '.join(ZOO)}")
    return ZOO[name]
