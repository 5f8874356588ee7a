"""Many images through the instruction-level model at once: each has a memory of its own."""

from collections.abc import Iterator

import numpy as np

from systolith.sim.machine import Machine
from systolith.sw.program import Program

__all__ = ["run_batch"]

#: Images side by side: bounds the memory a run takes.
_SIZE = 32


def run_batch(program: Program, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """Run a program on a batch of images; the answers are those of the device ``machine:``.

    Every job is a first one, so the second of each pair of input and output buffers is not used.

    Parameters
    ----------
    program : Program
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
    parts = list(_parts(program, inputs))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _parts(program: Program, inputs: tuple[np.ndarray, ...]) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(inputs[0]), _SIZE):
        images = [array[start:start + _SIZE] for array in inputs]
        machine = Machine(program.config, len(images[0]))
        machine.words = program.words
        for address, elements in program.segments:
            machine.memory[:, address:address + len(elements)] = elements
        for buffer, array in zip(program.inputs, images, strict=True):
            for memory, image in zip(machine.memory, array, strict=True):
                memory[buffer.address:buffer.address + buffer.elements] = buffer.pack(image)
        machine.run()
        yield [np.stack([buffer.unpack(memory[buffer.address:buffer.address + buffer.elements])
                         for memory in machine.memory]) for buffer in program.outputs]
