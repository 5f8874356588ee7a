"""Arrays in and out of ``.npy`` files, with errors that name the file."""

import zipfile
from pathlib import Path

import numpy as np

from systolith.sw.errors import DataError
from systolith.sw.files import replacing

__all__ = ["read_array", "write_array"]


def read_array(path: Path) -> np.ndarray:
    """Return the array of a ``.npy`` file.

    Raises
    ------
    DataError
        If the file is no such file, is truncated, or holds no images.
    OSError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: an .npz archive, not an .npy file: save the one array alone")
    if array.ndim == 0 or len(array) == 0:
        raise DataError(f"{path}: no images in it, its shape is {array.shape}")
    return array


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
