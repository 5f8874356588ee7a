"""A program of one job: what the compiler writes, and all a driver needs.

File (see :mod:`systolith.sw.container`): the header, and the sections it lists, raw and
little-endian.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from systolith.hw.config import Config, ConfigError
from systolith.hw.isa import ISA_VERSION
from systolith.sw import container
from systolith.sw.buffers import Buffer
from systolith.sw.errors import ProgramError
from systolith.sw.ir import HostStep, Port, Tensor

__all__ = ["LayerInfo", "Program", "read_config", "read_port", "read_tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """One step of a program, for reports."""

    name: str
    #: Operators done in this step, as the model calls them, joined by ``+``.
    op: str
    #: Of all images of a job, as the cycles.
    macs: int
    #: Predicted cycles, from the end of the step before to the end of this one.
    cycles: int = 0
    #: Names of the operations done in this step, the one whose sums the array makes first.
    parts: tuple[str, ...] = ()
    #: What it occupies (:class:`systolith.sw.steps.Unit`), and why no better unit, if there is one.
    unit: str = ""
    obstacle: str | None = None
    #: Rows of its input that lie side by side.
    interleave: int = 1
    #: Elements of memory: its weights and parameters; the maps that live while it runs.
    constant_elements: int = 0
    map_elements: int = 0


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
    #: Images that a job takes.
    batch: int = 1

    @property
    def cycles_per_image(self) -> float:
        """Predicted cycles of a job, shared among its images."""
        return self.predicted_cycles / self.batch

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to a file, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written (full disk, no permission); nothing is left behind.
        """
        container.save(path, self.to_bytes())

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
            "batch": self.batch, **{name: getattr(self, name) for name in _NUMBERS},
        }
        return container.seal(container.PROGRAM, header, b"".join(s.tobytes() for s in sections))

    @property
    def programs(self) -> "list[Program]":
        """The programs of the network: this one alone."""
        return [self]

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
        version, header, at = container.unseal(image, source)
        if version != container.PROGRAM:
            raise ProgramError(f"{source} is a network in segments: read it with "
                               "systolith.sw.pipeline.load_program")
        if header["isa"] != ISA_VERSION:
            raise ProgramError(f"{source} is for instruction set {header['isa']}, this version "
                               f"speaks {ISA_VERSION}; compile the model again")
        config = read_config(header["config"], source)
        sections = []
        for section in header["sections"]:
            dtype = np.dtype(section["dtype"])
            sections.append(np.frombuffer(image, dtype, section["count"], at))
            at += section["count"] * dtype.itemsize
        return cls(
            name=header["name"], config=config, words=sections[0],
            segments=list(zip(header["segments"], sections[1:], strict=True)),
            inputs=[_buffer(b) for b in header["inputs"]],
            outputs=[_buffer(b) for b in header["outputs"]],
            layers=[LayerInfo(**layer | {"parts": tuple(layer.get("parts", ()))})
                    for layer in header["layers"]],
            batch=header.get("batch", 1),
            **{name: header[name] for name in _NUMBERS})


_NUMBERS = ("input_delta", "output_delta", "predicted_cycles", "constant_elements",
            "map_elements")


def read_config(data: dict[str, Any], source: str) -> Config:
    """Return the configuration a file was made for."""
    try:
        return Config.from_json(data)
    except ConfigError as error:
        raise ProgramError(f"{source} is for a configuration this version does not know "
                           f"({error}); compile the model again") from None


def read_port(data: dict[str, Any]) -> Port:
    """Return a port from JSON."""
    steps = tuple(HostStep(**step) for step in data["steps"])
    return Port(**data | {"steps": steps, "shape": tuple(data["shape"]),
                          "permutation": tuple(data["permutation"])})


def read_tensor(data: dict[str, Any]) -> Tensor:
    """Return a tensor from JSON."""
    return Tensor(**data | {"shape": tuple(data["shape"])})


def _buffer(data: dict[str, Any]) -> Buffer:
    return Buffer(**data | {"port": read_port(data["port"]), "tensor": read_tensor(data["tensor"]),
                            "halo": tuple(data["halo"]),
                            "offsets": tuple(data.get("offsets", (0,)))})
