"""Nests to program words: a SET for every run of registers that changed, then GO."""

import numpy as np

from systolith.hw import isa
from systolith.hw.config import Config
from systolith.hw.isa import Engine, GoHeader, Op, Relocate, SetHeader
from systolith.sw.errors import CapacityError
from systolith.sw.nests import Nest

__all__ = ["assemble"]


def assemble(nests: list[Nest], config: Config) -> np.ndarray:
    """Return the program of nests in order, ended by END.

    Returns
    -------
    uint32[n]

    Raises
    ------
    CapacityError
        If the program memory is too small.
    ValueError
        If a nest waits for what its engine cannot wait for.
    """
    words: list[int] = []
    known: dict[Engine, dict[int, tuple[int, Relocate]]] = {e: {} for e in Engine}
    for nest in nests:
        words += _sets(nest, known[nest.engine])
        if config.shallow and nest.token and (
                (nest.engine, nest.token.engine) != (Engine.STREAM, Engine.POST)):
            raise ValueError(f"{nest.engine.name} cannot wait for {nest.token.engine.name}: with "
                             "shallow pipelines only STREAM waits, and for POST alone")
        token = {} if nest.token is None else {
            "wait": 1, "wait_engine": nest.token.engine, "wait_count": nest.token.count}
        words.append(isa.encode(GoHeader, op=Op.GO, engine=nest.engine, **token))
    words.append(isa.encode(GoHeader, op=Op.END))
    if len(words) > config.program_words:
        raise CapacityError(
            f"the program of {len(nests)} nests takes {len(words):,} words, {config.describe()} "
            f"holds {config.program_words:,}", "use a smaller network or more program_words")
    return np.array(words, np.uint32)


def _sets(nest: Nest, known: dict[int, tuple[int, Relocate]]) -> list[int]:
    """Return SETs for the registers whose word differs from what the engine has; update it.

    Relocation adds to the first word of a SET only, so a relocated register starts one.
    """
    moving = nest.relocations()
    wanted = {i: (word, moving.get(i, Relocate.NONE)) for i, word in nest.registers().items()}
    changed = [i for i in sorted(wanted) if known.get(i) != wanted[i]]
    known |= wanted
    words: list[int] = []
    run: list[int] = []
    for i in [*changed, None]:
        starts = i is None or not run or i != run[-1] + 1 or wanted[i][1] is not Relocate.NONE
        if starts and run:
            words.append(isa.encode(SetHeader, op=Op.SET, engine=nest.engine, first=run[0],
                                    count=len(run), relocate=wanted[run[0]][1]))
            words += [wanted[j][0] for j in run]
            run = []
        if i is not None:
            run.append(i)
    return words
