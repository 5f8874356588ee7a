"""The zoo's data sets: files to the networks' own inputs, split for training and testing.

The one place that knows how a file's numbers become a network's input; training scripts and
measurements both read through it. Files are NumPy archives without pickles; ``docs/zoo.md`` says
where the data come from and what their licences allow.
"""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from systolith.sw.errors import DataError

__all__ = ["Dataset", "cifar10_test", "facial_keypoints", "keyword_mfccs", "mnist", "mnist1d",
           "orl_faces", "sign_digits", "spoken_digits"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Inputs in a network's own layout and type, batch first, and what it should answer.

    Targets are uint8[n] class numbers, or float32[n, ...] for regressions. The training half is
    empty where the network came trained.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def _archive(read: Callable[[Mapping[str, np.ndarray]], Dataset]) -> Callable[[Path], Dataset]:
    """Return a reader of a ``.npz`` file from a reader of its arrays."""

    def reader(path: Path) -> Dataset:
        try:
            with np.load(path) as file:
                return read(file)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not the archive it should be: {error}; docs/zoo.md says "
                            "which arrays it holds") from error

    reader.__name__, reader.__doc__ = read.__name__, read.__doc__
    return reader


def _pixels(images: np.ndarray) -> np.ndarray:
    """Return uint8[n, h, w] as float32[n, 1, h, w] in 0..1."""
    return images[:, None].astype(np.float32) / 255


@_archive
def mnist(file: Mapping[str, np.ndarray]) -> Dataset:
    """Handwritten digits: float32[n, 1, 28, 28] in 0..1 to a digit."""
    return Dataset(_pixels(file["train_images"]), file["train_labels"],
                   _pixels(file["test_images"]), file["test_labels"])


@_archive
def orl_faces(file: Mapping[str, np.ndarray]) -> Dataset:
    """Faces of 40 people, 8 shots of each to train and 2 to test: float32[n, 1, 64, 64] in 0..1."""
    x, y, test = _pixels(file["images_64x64"]), file["labels"], file["is_test"]
    return Dataset(x[~test], y[~test], x[test], y[test])


@_archive
def facial_keypoints(file: Mapping[str, np.ndarray]) -> Dataset:
    """Face crops float32[n, 1, 96, 96] in 0..1 to 68 points float32[n, 68, 2], (x, y) in pixels."""
    return Dataset(_pixels(file["train_images"]), file["train_keypoints"],
                   _pixels(file["test_images"]), file["test_keypoints"])


@_archive
def sign_digits(file: Mapping[str, np.ndarray]) -> Dataset:
    """Hands showing the digits 0 to 9 in sign language: float32[n, 1, 64, 64] in 0..1."""
    return Dataset(_pixels(file["train_images"]), file["train_labels"],
                   _pixels(file["test_images"]), file["test_labels"])


@_archive
def spoken_digits(file: Mapping[str, np.ndarray]) -> Dataset:
    """Spoken digits: float32[n, 32, 64] in 0..1, 32 mel bands over 64 steps of time."""
    x = file["logmel_u8"].transpose(0, 2, 1).astype(np.float32) / 255
    y, test = file["labels"], file["is_test"]
    return Dataset(x[~test], y[~test], x[test], y[test])


@_archive
def mnist1d(file: Mapping[str, np.ndarray]) -> Dataset:
    """MNIST-1D: float32[n, 1, 40], forty raw samples, to one of ten classes."""
    return Dataset(file["train_x"][:, None], file["train_y"],
                   file["test_x"][:, None], file["test_y"])


@_archive
def cifar10_test(file: Mapping[str, np.ndarray]) -> Dataset:
    """CIFAR-10 test images: int8[n, 32, 32, 3], RGB pixels minus 128."""
    x = (file["images"].astype(np.int16) - 128).astype(np.int8)
    return Dataset(x[:0], file["labels"][:0], x, file["labels"])


@_archive
def keyword_mfccs(file: Mapping[str, np.ndarray]) -> Dataset:
    """MLPerf Tiny's thousand spoken keywords: int8[n, 49, 10, 1] MFCCs to one of 12 classes."""
    x = file["ref_model_input"]
    return Dataset(x[:0], file["labels"][:0], x, file["labels"])
