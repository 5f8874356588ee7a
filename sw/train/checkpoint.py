"""Files that training resumes from: one archive, complete or not there.

An ``.npz`` of the arrays with their description in JSON inside, so there are no two files that
could disagree. It is written beside its place and then renamed.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from systolith.sw.errors import DataError
from systolith.sw.files import replacing

__all__ = ["load_checkpoint", "save_checkpoint"]

_DESCRIPTION = "description"


def save_checkpoint(path: str | Path, arrays: Mapping[str, np.ndarray],
                    description: Mapping[str, Any]) -> None:
    """Write a checkpoint; whenever the power fails, the file is the old one or the new one.

    Parameters
    ----------
    path : path
        The file.
    arrays : mapping of name to array
        What is large.
    description : mapping
        What JSON can hold.

    Raises
    ------
    DataError
        If it cannot be written; what was there before still is.
    """
    path = Path(path)
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{_DESCRIPTION: text},
                     **{f"array {name}": array for name, array in arrays.items()})
    except OSError as error:
        raise DataError(f"{path}: the checkpoint cannot be written: {error.strerror or error}"
                        ) from error


def load_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the description of a checkpoint.

    Raises
    ------
    DataError
        If the file is no whole checkpoint.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            description = json.loads(archive[_DESCRIPTION].tobytes())
            arrays = {name.removeprefix("array "): archive[name] for name in archive.files
                      if name != _DESCRIPTION}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such checkpoint") from error
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole checkpoint of a training run: {error}; resume from "
                        "another one") from error
    return arrays, description
