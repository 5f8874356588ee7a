"""The file around programs: magic, version, header and checksum.

File: magic ``STHP``, 16-bit version, 32-bit header length, JSON header, what the header describes,
and the SHA-256 of everything before it. Format 1 is a :class:`systolith.sw.program.Program`,
format 2 a :class:`systolith.sw.pipeline.Pipeline`.
"""

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from systolith.sw.errors import ProgramError
from systolith.sw.files import replacing

__all__ = ["PIPELINE", "PROGRAM", "save", "seal", "unseal"]

#: Formats.
PROGRAM, PIPELINE = 1, 2
_MAGIC = b"STHP"
_PREFIX = struct.Struct("<4sHI")
_DIGEST = hashlib.sha256().digest_size


def seal(version: int, header: dict[str, Any], body: bytes) -> bytes:
    """Return the content of a file."""
    text = json.dumps(header).encode()
    image = _PREFIX.pack(_MAGIC, version, len(text)) + text + body
    return image + hashlib.sha256(image).digest()


def unseal(image: bytes, source: str) -> tuple[int, dict[str, Any], int]:
    """Return a file's version, its header and where in the image the body begins.

    Raises
    ------
    ProgramError
        If it is no program, damaged, or of a version this one does not know; ``source`` names it.
    """
    if len(image) < _PREFIX.size or not image.startswith(_MAGIC):
        raise ProgramError(f"{source} is no compiled program; make one with 'systolith compile'")
    _, version, length = _PREFIX.unpack_from(image)
    if version not in (PROGRAM, PIPELINE):
        raise ProgramError(f"{source} has format {version}, this version reads {PROGRAM} and "
                           f"{PIPELINE}; compile the model again")
    if hashlib.sha256(image[:-_DIGEST]).digest() != image[-_DIGEST:]:
        raise ProgramError(f"{source} is damaged (its checksum does not match); compile the "
                           "model again")
    begin = _PREFIX.size + length
    return version, json.loads(image[_PREFIX.size:begin]), begin


def save(path: str | os.PathLike[str], image: bytes) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written (full disk, no permission); nothing is left behind.
    """
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(image)
