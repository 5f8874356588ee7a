"""Programs: SETs name what changed and nothing else, and what is assembled can be taken apart."""

import re

import numpy as np
import pytest

from systolith.boards.icebreaker import ICEBREAKER
from systolith.hw import isa
from systolith.hw.config import Config
from systolith.hw.isa import ENGINE_REGISTERS, Engine, GoHeader, Op, Relocate, SetHeader
from systolith.sw.assembler import assemble
from systolith.sw.errors import CapacityError
from systolith.sw.nests import LoadNest, Loop, PostNest, ResidualAdd, StreamNest, Token
from systolith.sw.program_view import instructions

CONFIG = Config()


def sets(words):
    """Return (engine, first, values, relocate) of every SET, read word by word."""
    found, pc = [], 0
    while True:
        header = isa.decode(SetHeader, int(words[pc]))
        match Op(header["op"]):
            case Op.END:
                assert pc == len(words) - 1
                return found
            case Op.SET:
                count = header["count"]
                found.append((Engine(header["engine"]), header["first"],
                              words[pc + 1:pc + 1 + count].tolist(), Relocate(header["relocate"])))
                pc += 1 + count
            case Op.GO:
                pc += 1


def random_nest(rng):
    """A nest whose numbers repeat often, so that few registers change from one to the next."""
    def number(high):
        return int(rng.integers(high)) if rng.random() < 0.3 else 0

    def loops(depth):
        return [Loop(1 + number(3), number(9), number(9), number(9)) for _ in range(depth)]

    token = Token(Engine(int(rng.integers(3))), number(1 << 16)) if rng.random() < 0.3 else None
    rest = {"base": number(100), "token": token, "relocate": Relocate(number(3))}
    kind = rng.integers(3)
    if kind == 0:
        return LoadNest(loops=loops(3), **rest)
    if kind == 1:
        return StreamNest(loops=loops(4), pass_level=2, group_level=3, keep=bool(number(2)), **rest)
    add = ResidualAdd(base=number(100), zero_point=number(9), operand=(number(9), 1),
                      scales_residual=bool(number(2)), sum=(4, number(9)), sum_zero_point=1,
                      low=-5, high=5, relocate=Relocate(number(3)))
    return PostNest(loops=loops(5), valid=1 + number(8), zero_point=number(9),
                    add=add if rng.random() < 0.5 else None, params=number(64) or None, **rest)


def expected_files(nests, deltas):
    """Return per GO (engine, words of the registers it sets, token)."""
    for nest in nests:
        moving = nest.relocations()
        words = {i: word + deltas[moving.get(i, Relocate.NONE)]
                 for i, word in nest.registers().items()}
        yield nest.engine, words, nest.token and (nest.token.engine, nest.token.count)


@pytest.mark.parametrize("deltas", [(0, 0), (1000, 20_000)], ids=["even", "odd"])
@pytest.mark.parametrize("seed", range(8))
def test_round_trip(seed, deltas):
    """Every GO starts with the registers of its nest, whatever came before; parity included."""
    rng = np.random.default_rng(seed)
    nests = [random_nest(rng) for _ in range(40)]
    words = assemble(nests, CONFIG)
    assert words.dtype == np.uint32
    program = instructions(words, input_delta=deltas[0], output_delta=deltas[1])
    assert program[-1].op is Op.END
    assert sum(i.length for i in program) == len(words)
    views = [i.nest for i in program if i.op is Op.GO]
    by_kind = dict(zip(Relocate, (0, *deltas), strict=True))
    for view, (engine, registers, token) in zip(views, expected_files(nests, by_kind), strict=True):
        assert (view.engine, view.token) == (engine, token)
        for index, word in registers.items():
            register = ENGINE_REGISTERS[engine][index]
            assert view[register.name] == isa.decode(register.layout, word), register.name


@pytest.mark.parametrize("seed", range(8))
def test_only_what_changed_is_set(seed):
    """A register is written if, and only if, its word or what moves it is not there yet."""
    rng = np.random.default_rng(seed)
    nests = [random_nest(rng) for _ in range(30)]
    known, wanted = {}, []
    for nest in nests:
        moving = nest.relocations()
        for index, word in sorted(nest.registers().items()):
            state = word, moving.get(index, Relocate.NONE)
            if known.get((nest.engine, index)) != state:
                wanted.append((nest.engine, index, word))
                known[nest.engine, index] = state
    runs = sets(assemble(nests, CONFIG))
    written = [(engine, first + i, word) for engine, first, values, _ in runs
               for i, word in enumerate(values)]
    assert written == wanted


def test_same_nest_again_is_one_word():
    nest = LoadNest(base=16, loops=[Loop(4, 16)])
    once, twice = assemble([nest], CONFIG), assemble([nest, nest], CONFIG)
    assert len(twice) == len(once) + 1
    assert isa.decode(GoHeader, int(twice[-2]))["op"] == Op.GO.value


def test_neighbours_share_a_set_and_others_do_not():
    first = LoadNest(base=0, loops=[Loop(2, 1), Loop(2, 5), Loop(2, 7)])
    second = LoadNest(base=0, loops=[Loop(3, 1), Loop(2, 5), Loop(2, 7)])
    changed = sets(assemble([first, second], CONFIG))[1:]
    names = [r.name for r in ENGINE_REGISTERS[Engine.LOAD]]
    assert [(names[begin], len(values)) for _, begin, values, _ in changed] == [
        ("LOOP0", 1), ("JUMP1", 1), ("JUMP2", 1)]
    whole = sets(assemble([first], CONFIG))
    assert [(begin, len(values)) for _, begin, values, _ in whole] == [(0, len(names))]


def test_relocated_register_starts_a_set():
    """Only the first word of a SET moves, so no other may be behind it."""
    add = ResidualAdd(base=3, zero_point=0, operand=(0, 0), scales_residual=False,
                      sum=(0, 0), sum_zero_point=0, low=0, high=0, relocate=Relocate.INPUT)
    nest = PostNest(base=8, loops=[Loop(2)], valid=1, zero_point=0, add=add,
                    relocate=Relocate.OUTPUT)
    names = [r.name for r in ENGINE_REGISTERS[Engine.POST]]
    runs = [(names[begin], relocate) for _, begin, _, relocate in sets(assemble([nest], CONFIG))]
    assert runs == [("WRITE_BASE", Relocate.OUTPUT), ("RESIDUAL_BASE", Relocate.INPUT)]


def test_same_address_moved_otherwise_is_set_again():
    nests = [StreamNest(base=40, loops=[], pass_level=2, group_level=2, relocate=relocate)
             for relocate in (Relocate.INPUT, Relocate.NONE, Relocate.NONE)]
    runs = [(len(values), relocate) for _, _, values, relocate in sets(assemble(nests, CONFIG))]
    assert runs == [(14, Relocate.INPUT), (1, Relocate.NONE)]


def test_empty_program_is_one_end():
    assert assemble([], CONFIG).tolist() == [isa.encode(GoHeader, op=Op.END)]


def test_program_too_long():
    config = Config(program_words=64)
    nests = [LoadNest(base=0, loops=[]) for _ in range(55)]
    fits = assemble(nests, config)
    assert len(fits) == 64                           # a SET of 7 registers, 55 GOs and the END
    message = ("the program of 56 nests takes 65 words, " + re.escape(config.describe())
               + " holds 64; use a smaller network or more program_words")
    with pytest.raises(CapacityError, match=message):
        assemble([*nests, nests[0]], config)


@pytest.mark.parametrize("nest", [LoadNest(base=0, loops=[], token=Token(Engine.POST, 1)),
                                  StreamNest(base=0, loops=[], pass_level=0, group_level=0,
                                             token=Token(Engine.LOAD, 1))])
def test_shallow_engines_wait_for_post_alone(nest):
    assemble([nest], CONFIG)
    with pytest.raises(ValueError, match=f"{nest.engine.name} cannot wait for "):
        assemble([nest], ICEBREAKER.config)
