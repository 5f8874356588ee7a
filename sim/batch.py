"""Many images through the instruction-level model at once: each has a memory of its own."""

from collections.abc import Iterator

import numpy as np

from systolith.sim.machine import Machine
from systolith.sw.buffers import Buffer
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program

__all__ = ["run_batch"]

#: Jobs side by side: bounds the memory a run takes.
_SIZE = 32


def run_batch(program: Program | Pipeline, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """Run a program on a batch of images; the answers are those of the device ``machine:``.

    Every job is a first one, so the second of each pair of input and output buffers is not used.

    Parameters
    ----------
    program : Program or Pipeline
        What to run.
    inputs : arrays
        For each of the program's inputs an array with the images along axis 0.

    Returns
    -------
    tuple of arrays
        For each of the program's outputs an array with the images along axis 0.

    Raises
    ------
    DataError
        If an input's shape or type is not the model's.
    """
    if isinstance(program, Pipeline):
        return program.run(inputs, run_batch)
    parts = list(_parts(program, inputs))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _parts(program: Program, inputs: tuple[np.ndarray, ...]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(inputs[0]), _SIZE * program.batch):
        images = [array[start:start + _SIZE * program.batch] for array in inputs]
        places = [divmod(image, program.batch) for image in range(len(images[0]))]
        machine = Machine(program.config, places[-1][0] + 1)
        machine.words = program.words
        for address, elements in program.segments:
            machine.memory[:, address:address + len(elements)] = elements
        for buffer, array in zip(program.inputs, images, strict=True):
            for (job, place), image in zip(places, array, strict=True):
                _span(machine.memory[job], buffer, place)[:] = buffer.pack(image)
        machine.run()
        yield [np.stack([buffer.unpack(_span(machine.memory[job], buffer, place))
                         for job, place in places]) for buffer in program.outputs]


def _span(memory: np.ndarray, buffer: Buffer, place: int) -> np.ndarray:
    """Return where an image of a first job is in memory."""
    address = buffer.place(0, place)
    return memory[address:address + buffer.elements]
