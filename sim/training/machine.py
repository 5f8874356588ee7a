"""The instruction-level model of a training device: what a program computes, on one memory."""

from dataclasses import dataclass

import numpy as np

from systolith.hw.isa import Engine
from systolith.sim.machine import Machine
from systolith.sim.training.batch import Batch, Range, batches
from systolith.sim.training.schedule import Fill, Losses, Schedule
from systolith.sw.program_view import instructions, setting_words

__all__ = ["TrainingMachine"]

#: Programs that are kept: a step has three, and there are others while exponents change.
_KEPT = 8


@dataclass(slots=True)
class _Program:
    """A program that was worked out; another one may only have other seeds."""

    words: np.ndarray
    deltas: tuple[int, int]
    seeds: list[int]
    steps: list[Batch | Fill | Losses]

    def is_for(self, words: np.ndarray, deltas: tuple[int, int]) -> bool:
        """Whether ``words`` does the same."""
        if deltas != self.deltas or len(words) != len(self.words):
            return False
        differs = words != self.words
        differs[self.seeds] = False
        return not differs.any()


class TrainingMachine(Machine):
    """A device with ``Config.training``; one memory, images lie in it one after the other.

    A training step runs the same few programs over and over with other seeds, so what they do is
    worked out once: :mod:`systolith.sim.training.schedule`.
    """

    def __init__(self, config):
        super().__init__(config)
        self._programs: list[_Program] = []

    def run(self, *, input_delta: int = 0, output_delta: int = 0) -> None:
        """Run the program once, as :meth:`Machine.run`."""
        program = self._program((input_delta, output_delta))
        memory, measured = self._memory[0], Range()
        for step in program.steps:
            if isinstance(step, Batch):
                step.run(memory, self.words, measured)
            else:
                step.run(memory)

    def _program(self, deltas: tuple[int, int]) -> _Program:
        for program in self._programs:
            if program.is_for(self.words, deltas):
                return program
        decoded = instructions(self.words, input_delta=deltas[0], output_delta=deltas[1],
                               training=True)
        seeds = setting_words(self.words, decoded, Engine.POST, "SEED")
        schedule = Schedule(self, decoded, seeds)
        schedule.run()
        program = _Program(self.words, deltas, sorted({*seeds} - {None}),
                           batches(schedule.steps, self._memory.shape[1]))
        self._programs = [program, *self._programs][:_KEPT]
        return program
