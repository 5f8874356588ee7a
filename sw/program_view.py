"""A program's words taken apart: the nests it starts, in order, and every address they visit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from amaranth.lib import data

from systolith.hw.isa import (
    LOAD_LOOPS,
    POST_LOOPS,
    STREAM_LOOPS,
    TRAINING_LOAD_LOOPS,
    Engine,
    GoHeader,
    Op,
    Relocate,
    SetHeader,
    decode,
    engine_registers,
    register_index,
)

__all__ = ["LOOPS", "IllegalInstruction", "Instruction", "NestView", "instructions",
           "setting_words"]

LOOPS = {Engine.LOAD: LOAD_LOOPS, Engine.STREAM: STREAM_LOOPS, Engine.POST: POST_LOOPS}


class IllegalInstruction(ValueError):
    """A program no device can run; the message names the word, ``pc`` is its address."""

    def __init__(self, message: str, pc: int = 0):
        super().__init__(message)
        self.pc = pc


@dataclass(frozen=True, slots=True)
class NestView:
    """The registers of one GO, by name, and the loops they describe."""

    engine: Engine
    registers: Mapping[str, dict[str, int]]
    #: Engine and count this nest waits for, or None.
    token: tuple[Engine, int] | None

    def __getitem__(self, register: str) -> dict[str, int]:
        return self.registers[register]

    @property
    def lasts(self) -> list[int]:
        """Iterations minus one of every loop, innermost first."""
        return [self[f"LOOP{i}"]["last"] for i in range(self.depth)]

    @property
    def depth(self) -> int:
        """Loops this nest's engine has."""
        more = self.engine is Engine.LOAD and f"LOOP{TRAINING_LOAD_LOOPS - 1}" in self.registers
        return TRAINING_LOAD_LOOPS if more else LOOPS[self.engine]

    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return per iteration the loop that stepped into it, and the loop that steps next."""
        return _levels(tuple(self.lasts))

    def addresses(self, base: int, jumps: list[int]) -> np.ndarray:
        """Return the (unwrapped) address of every iteration."""
        return base + _travel(tuple(self.lasts), tuple(jumps))

    def track(self, base: int, register: str) -> np.ndarray:
        """Return the addresses of the track whose jumps are the registers ``<register>0``..."""
        return self.addresses(base, [self[f"{register}{i}"]["jump"] for i in range(self.depth)])

    def accumulators(self) -> np.ndarray:
        """Return the accumulator address of every iteration."""
        return self.addresses(self["CONTROL"]["acc_base"],
                              [self[f"LOOP{i}"]["acc_jump"] for i in range(self.depth)])


@lru_cache(1024)
def _levels(lasts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    total = int(np.prod([n + 1 for n in lasts]))
    number = np.arange(1, total)
    level = np.zeros(total - 1, np.int64)
    size = 1
    for n in lasts[:-1]:
        size *= n + 1
        level += number % size == 0
    ends = [len(lasts)]
    levels = np.concatenate((ends, level)), np.concatenate((level, ends))
    for array in levels:                         # many nests share them
        array.flags.writeable = False
    return levels


@lru_cache(1024)
def _travel(lasts: tuple[int, ...], jumps: tuple[int, ...]) -> np.ndarray:
    """Return how far from the first every iteration's address is."""
    steps = np.asarray([*jumps, 0], np.int64)[_levels(lasts)[1]]
    return np.concatenate(([0], np.cumsum(steps[:-1])))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its place, its kind, the words it takes, and the nest of a GO."""

    pc: int
    op: Op
    engine: Engine | None = None
    length: int = 1
    nest: NestView | None = None


def instructions(words: np.ndarray, *, input_delta: int = 0, output_delta: int = 0,
                 training: bool = False) -> list[Instruction]:
    """Take a program apart, up to its END.

    Parameters
    ----------
    words : uint32[n]
    input_delta, output_delta : int
        What relocated SETs add (0 for a job of even parity).
    training : bool
        The program is for a device with ``Config.training``.

    Raises
    ------
    IllegalInstruction
        For an unknown operation or engine, a SET beyond an engine's registers, or a missing END.
    """
    layouts = {e: {r.name: (i, r.layout)
                   for i, r in enumerate(engine_registers(e, training=training))} for e in Engine}
    files = {e: [0] * len(layouts[e]) for e in Engine}
    deltas = {Relocate.NONE: 0, Relocate.INPUT: input_delta, Relocate.OUTPUT: output_delta}
    result = []
    pc = 0
    while pc < len(words):
        word = int(words[pc])
        header = decode(SetHeader, word)
        if header["op"] == Op.END.value:
            return [*result, Instruction(pc, Op.END)]
        if header["op"] not in (Op.SET.value, Op.GO.value) or header["engine"] >= len(Engine):
            raise IllegalInstruction(f"word {pc} ({word:#010x}) is no instruction", pc)
        go = decode(GoHeader, word)
        starts = header["op"] == Op.GO.value
        named = go["wait"] * go["wait_engine"] if starts else header["relocate"]
        if named >= len(Relocate):               # there are as many engines
            raise IllegalInstruction(f"word {pc} ({word:#010x}) names an engine or a relocation "
                                     "that does not exist", pc)
        engine = Engine(header["engine"])
        if starts:
            result.append(Instruction(pc, Op.GO, engine, 1, _nest(
                engine, layouts[engine], files[engine], word)))
            pc += 1
            continue
        first, count = header["first"], header["count"]
        if not 0 < count <= len(files[engine]) - first or pc + count >= len(words):
            raise IllegalInstruction(f"word {pc}: SET of {count} words from register {first} "
                                     f"does not fit engine {engine.name} or the program", pc)
        values = [int(w) for w in words[pc + 1:pc + 1 + count]]
        values[0] = values[0] + deltas[Relocate(header["relocate"])] & 0xFFFFFFFF
        files[engine][first:first + count] = values
        result.append(Instruction(pc, Op.SET, engine, 1 + count))
        pc += 1 + count
    raise IllegalInstruction("the program has no END", pc)


def setting_words(words: np.ndarray, program: list[Instruction], engine: Engine,
                  register: str) -> list[int | None]:
    """Return, for each nest of an engine, the place of the word that set a register, if any has.

    Parameters
    ----------
    words : uint32[n]
    program : list of Instruction
        The same, taken apart.
    engine : Engine
        Whose nests.
    register : str
        Its name.
    """
    index, place, places = register_index(engine, register), None, []
    for instruction in program:
        if instruction.engine is not engine:
            continue
        if instruction.op is Op.GO:
            places.append(place)
        else:
            first = decode(SetHeader, int(words[instruction.pc]))["first"]
            if first <= index < first + instruction.length - 1:
                place = instruction.pc + 1 + index - first
    return places


class _Registers(Mapping):
    """Registers by name, taken apart when somebody looks."""

    def __init__(self, layouts: dict[str, tuple[int, type[data.Struct]]], values: list[int]):
        self._layouts, self._values = layouts, tuple(values)

    def __getitem__(self, name: str) -> dict[str, int]:
        index, layout = self._layouts[name]
        return decode(layout, self._values[index])

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)


def _nest(engine: Engine, layouts: dict[str, tuple[int, type[data.Struct]]], values: list[int],
          go: int) -> NestView:
    header = decode(GoHeader, go)
    token = (Engine(header["wait_engine"]), header["wait_count"]) if header["wait"] else None
    return NestView(engine, _Registers(layouts, values), token)
