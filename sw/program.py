"""The program container: what the compiler writes, and all a driver needs.

File: magic ``STHP``, 16-bit version, 32-bit header length, JSON header, the sections the header
lists (raw, little-endian), and the SHA-256 of everything before it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from systolith.hw.config import Config, ConfigError
from systolith.hw.isa import ISA_VERSION
from systolith.sw.buffers import Buffer
from systolith.sw.errors import ProgramError
from systolith.sw.ir import HostStep, Port, Tensor

__all__ = ["LayerInfo", "Program"]

_MAGIC = b"STHP"
_VERSION = 1
_PREFIX = struct.Struct("<4sHI")
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """One step of a program, for reports."""

    name: str
    #: Operators done in this step, as the model calls them, joined by ``+``.
    op: str
    macs: int
    #: Predicted cycles, from the end of the step before to the end of this one.
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A compiled network."""

    name: str
    config: Config
    #: Instruction words, uint32[n].
    words: np.ndarray
    #: Weights and parameters: element address and int8[n] or int16[n].
    segments: list[tuple[int, np.ndarray]]
    inputs: list[Buffer]
    outputs: list[Buffer]
    #: What a job of odd parity adds to input and output addresses; 0: there is only one buffer.
    input_delta: int
    output_delta: int
    layers: list[LayerInfo]
    #: Cycles of one job without transfers beside it.
    predicted_cycles: int
    #: Elements of memory taken by weights and parameters, and by maps at the fullest moment.
    constant_elements: int
    map_elements: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to a file, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written (full disk, no permission); nothing is left behind.
        """
        path = Path(path)
        image = self.to_bytes()
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("xb") as file:
                file.write(image)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def to_bytes(self) -> bytes:
        """Return the content of the program's file."""
        sections = [np.ascontiguousarray(self.words, "<u4")]
        sections += [np.ascontiguousarray(e, e.dtype.newbyteorder("<")) for _, e in self.segments]
        header = {
            "name": self.name, "isa": ISA_VERSION, "config": self.config.to_json(),
            "sections": [{"dtype": s.dtype.str, "count": s.size} for s in sections],
            "segments": [address for address, _ in self.segments],
            "inputs": [dataclasses.asdict(b) for b in self.inputs],
            "outputs": [dataclasses.asdict(b) for b in self.outputs],
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            **{name: getattr(self, name) for name in _NUMBERS},
        }
        text = json.dumps(header).encode()
        body = _PREFIX.pack(_MAGIC, _VERSION, len(text)) + text
        body += b"".join(s.tobytes() for s in sections)
        return body + hashlib.sha256(body).digest()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Program":
        """Read a program.

        Raises
        ------
        ProgramError
            If it is no program, damaged, or of a version this one does not know.
        OSError
            If the file cannot be read.
        """
        return cls.from_bytes(Path(path).read_bytes(), str(path))

    @classmethod
    def from_bytes(cls, image: bytes, source: str = "program") -> "Program":
        """Build a program from the content of its file; ``source`` names it in errors."""
        if len(image) < _PREFIX.size or not image.startswith(_MAGIC):
            raise ProgramError(f"{source} is no compiled program; make one with "
                               "'systolith compile'")
        _, version, length = _PREFIX.unpack_from(image)
        if version != _VERSION:
            raise ProgramError(f"{source} has format {version}, this version reads {_VERSION}; "
                               "compile the model again")
        if hashlib.sha256(image[:-_DIGEST]).digest() != image[-_DIGEST:]:
            raise ProgramError(f"{source} is damaged (its checksum does not match); compile the "
                               "model again")
        header = json.loads(image[_PREFIX.size:_PREFIX.size + length])
        if header["isa"] != ISA_VERSION:
            raise ProgramError(f"{source} is for instruction set {header['isa']}, this version "
                               f"speaks {ISA_VERSION}; compile the model again")
        try:
            config = Config.from_json(header["config"])
        except ConfigError as error:
            raise ProgramError(f"{source} is for a configuration this version does not know "
                               f"({error}); compile the model again") from None
        sections, at = [], _PREFIX.size + length
        for section in header["sections"]:
            dtype = np.dtype(section["dtype"])
            sections.append(np.frombuffer(image, dtype, section["count"], at))
            at += section["count"] * dtype.itemsize
        return cls(
            name=header["name"], config=config, words=sections[0],
            segments=list(zip(header["segments"], sections[1:], strict=True)),
            inputs=[_buffer(b) for b in header["inputs"]],
            outputs=[_buffer(b) for b in header["outputs"]],
            layers=[LayerInfo(**layer) for layer in header["layers"]],
            **{name: header[name] for name in _NUMBERS})


_NUMBERS = ("input_delta", "output_delta", "predicted_cycles", "constant_elements",
            "map_elements")


def _buffer(data: dict[str, Any]) -> Buffer:
    port, tensor = data["port"], data["tensor"]
    steps = tuple(HostStep(**step) for step in port["steps"])
    port = Port(**port | {"steps": steps, "shape": tuple(port["shape"]),
                          "permutation": tuple(port["permutation"])})
    tensor = Tensor(**tensor | {"shape": tuple(tensor["shape"])})
    return Buffer(**data | {"port": port, "tensor": tensor, "halo": tuple(data["halo"])})
