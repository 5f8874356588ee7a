"""A network in segments: programs, and between them operations that the host runs.

File: format 2 of :mod:`systolith.sw.container`; its body is the programs' own files, one behind
the other.
"""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from systolith.hw.config import Config
from systolith.sw import container, host, ports
from systolith.sw.buffers import Terminal
from systolith.sw.ir import (
    Bilinear,
    Extreme,
    HostOp,
    HostStep,
    Mul,
    Port,
    Real,
    Rearrange,
    Requant,
    Softmax,
    Table,
    Tensor,
)
from systolith.sw.program import LayerInfo, Program, read_config, read_port, read_tensor
from systolith.sw.steps import Unit

__all__ = ["Pipeline", "load_program"]

_HOST_OPS = {cls.__name__: cls for cls in (
    Bilinear, Extreme, Mul, Real, Rearrange, Softmax, Table)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pipeline:
    """A compiled network with host operations.

    Maps between the stages are int8[n, h, w, c]. To those who compile, load and run it looks like
    a :class:`Program` where it can.
    """

    name: str
    config: Config
    #: In the order they run.
    stages: list[Program | HostOp]
    #: Every map that the host sees, by name.
    tensors: dict[str, Tensor]
    input_ports: list[Port]
    output_ports: list[Port]

    @property
    def inputs(self) -> list[Terminal]:
        """The model's inputs."""
        return [Terminal(port=port, tensor=self.tensors[port.tensor]) for port in self.input_ports]

    @property
    def outputs(self) -> list[Terminal]:
        """The model's outputs."""
        return [Terminal(port=port, tensor=self.tensors[port.tensor]) for port in self.output_ports]

    @property
    def programs(self) -> list[Program]:
        """The device's part."""
        return [stage for stage in self.stages if isinstance(stage, Program)]

    @property
    def layers(self) -> list[LayerInfo]:
        """What is done, in order; host operations take no cycles of the device."""
        layers = []
        for stage in self.stages:
            layers += stage.layers if isinstance(stage, Program) else [
                LayerInfo(name=stage.name, op=f"{stage.kind} on the host", macs=0,
                          parts=(stage.name,), unit=Unit.HOST)]
        return layers

    @property
    def batch(self) -> int:
        """Images that a job of each program takes."""
        return max((program.batch for program in self.programs), default=1)

    @property
    def predicted_cycles(self) -> int:
        """Cycles of a job of every program, without transfers beside them."""
        return sum(program.predicted_cycles for program in self.programs)

    @property
    def cycles_per_image(self) -> float:
        """Those cycles, shared among the images."""
        return self.predicted_cycles / self.batch

    def run(self, arrays: tuple[np.ndarray, ...],
            run_program: Callable[..., tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        """Take a batch through all stages.

        Parameters
        ----------
        arrays : tuple of arrays
            For each input the images along axis 0, in the model's own layout and type.
        run_program : Callable
            Called with a program and an array for each of its inputs; returns its outputs.

        Returns
        -------
        tuple of arrays
            The model's outputs.

        Raises
        ------
        DataError
            If an input's shape or type is another one.
        """
        values = {end.tensor.name: ports.encode(end.port, end.tensor, array)
                  for end, array in zip(self.inputs, arrays, strict=True)}
        for stage in self.stages:
            if isinstance(stage, Program):
                found = run_program(stage, *(values[end.tensor.name] for end in stage.inputs))
                values |= {end.tensor.name: maps
                           for end, maps in zip(stage.outputs, found, strict=True)}
            else:
                values[stage.output] = host.run(
                    stage, [values[name] for name in stage.inputs],
                    [self.tensors[name] for name in stage.inputs], self.tensors[stage.output])
        return tuple(ports.decode(end.port, end.tensor, values[end.tensor.name])
                     for end in self.outputs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a file, whole or not at all; see :meth:`Program.save`."""
        container.save(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of the network's file."""
        images = [program.to_bytes() for program in self.programs]
        sizes = iter(map(len, images))
        header = {
            "name": self.name, "config": self.config.to_json(),
            "stages": [{"program": next(sizes)} if isinstance(stage, Program)
                       else _to_json(stage) for stage in self.stages],
            "tensors": [dataclasses.asdict(tensor) for tensor in self.tensors.values()],
            "inputs": [dataclasses.asdict(port) for port in self.input_ports],
            "outputs": [dataclasses.asdict(port) for port in self.output_ports],
        }
        return container.seal(container.PIPELINE, header, b"".join(images))


def load_program(path: str | os.PathLike[str]) -> Program | Pipeline:
    """Read what ``systolith compile`` wrote: a program, or a network in segments.

    Raises
    ------
    ProgramError
        If it is neither, damaged, or of a version this one does not know.
    OSError
        If the file cannot be read.
    """
    image, source = Path(path).read_bytes(), str(path)
    version, header, at = container.unseal(image, source)
    if version == container.PROGRAM:
        return Program.from_bytes(image, source)
    config = read_config(header["config"], source)
    stages: list[Program | HostOp] = []
    for stage in header["stages"]:
        if "program" in stage:
            stages.append(Program.from_bytes(image[at:at + stage["program"]], source))
            at += stage["program"]
        else:
            stages.append(_from_json(stage))
    return Pipeline(
        name=header["name"], config=config, stages=stages,
        tensors={data["name"]: read_tensor(data) for data in header["tensors"]},
        input_ports=[read_port(data) for data in header["inputs"]],
        output_ports=[read_port(data) for data in header["outputs"]])


def _to_json(op: HostOp) -> dict[str, Any]:
    """Return a host operation as JSON: its class and its fields."""
    fields = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
    if isinstance(op, Mul):
        fields["requant"] = {field.name: getattr(op.requant, field.name).tolist()
                             for field in dataclasses.fields(Requant)}
    if isinstance(op, Real):
        fields["steps"] = [dataclasses.asdict(step) for step in op.steps]
    if isinstance(op, Table):
        fields["levels"] = op.levels.tolist()
    if isinstance(op, Rearrange):
        fields["places"] = op.places.tolist()
    return {"operation": type(op).__name__, **fields}


def _from_json(data: dict[str, Any]) -> HostOp:
    fields = data | {"inputs": tuple(data["inputs"])}
    if "requant" in fields:
        fields["requant"] = Requant(**{name: np.array(values, np.int32)
                                       for name, values in fields["requant"].items()})
    if "steps" in fields:
        fields["steps"] = tuple(HostStep(**step) for step in fields["steps"])
    for name in ("size", "shape", "permutation"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if "places" in fields:
        fields["places"] = np.array(fields["places"], np.int64)
    if "levels" in fields:
        fields["levels"] = np.array(fields["levels"], np.int8)
    return _HOST_OPS[fields.pop("operation")](**fields)
