"""The instruction-level machine: compiled programs give the golden model's results, bit for bit."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.hw import isa
from systolith.hw.config import Config
from systolith.hw.isa import Engine, GoHeader, Op, SetHeader
from systolith.sim.machine import Machine
from systolith.sw import compiler
from systolith.sw.assembler import assemble
from systolith.sw.errors import CapacityError
from systolith.sw.lowering.interleaving import layouts
from systolith.sw.nests import LoadNest, Loop, PostNest, StreamNest, Token
from systolith.sw.program_view import IllegalInstruction
from tests.compiled import CONFIGS, random_case
from tests.networks import FUSED, KINDS, PLACED

IMAGES = 3
CONFIG = Config(rows=4, columns=2, post_lanes=2, banks=1, bank_words=64, program_words=256,
                accumulator_depth=16, frame_bytes=64)


def noisy_machine(config, rng, batch=IMAGES):
    """Return a machine whose memory, and what lies behind its end, is noise."""
    machine = Machine(config, batch)
    everything = machine.memory.base
    everything[:] = rng.integers(-128, 128, everything.shape, np.int8)
    return machine


def compare(config, seed, parity=0, interleaved=False, **options):
    """Run a random network on the machine and compare all outputs; False if it does not fit.

    So it is with ``interleaved`` where no input has rows side by side.
    """
    rng = np.random.default_rng(seed)
    try:
        case = random_case(rng, config, images=IMAGES, **options)
    except CapacityError:
        return False
    if interleaved and all(buffer.interleave == 1 for buffer in case.program.inputs):
        return False
    machine = noisy_machine(config, rng)
    images = slice(0, IMAGES)
    case.fill(machine.memory, images, parity)
    machine.words = case.program.words
    before = machine.memory.copy()
    machine.run(input_delta=parity * case.program.input_delta,
                output_delta=parity * case.program.output_delta)
    case.check(machine.memory, images, parity)
    for begin, constants in case.program.segments:
        kept = slice(begin, begin + len(constants))
        np.testing.assert_array_equal(machine.memory[:, kept], before[:, kept],
                                      "a constant was overwritten")
    return True


@pytest.mark.parametrize("name", CONFIGS)
def test_random_networks(name):
    """Fused as they come, and with every tensor an output, in jobs of either parity."""
    fit = [compare(CONFIGS[name], seed, parity=seed // 2 % 2, all_outputs=bool(seed % 2),
                   layers=4, size=8, channels=8) for seed in range(12)]
    assert sum(fit) >= 10


@pytest.mark.parametrize("name", CONFIGS)
def test_fused_steps(name):
    """Maxima and additions on the way from the accumulators to memory."""
    fit = [compare(CONFIGS[name], seed, kinds=(*FUSED, "max"), layers=3, size=8, channels=8)
           for seed in range(8)]
    assert sum(fit) >= 6


@pytest.mark.parametrize("name", CONFIGS)
def test_narrow_maps(name):
    """Vectors over several kernel rows, and over the end of the map."""
    fit = [compare(CONFIGS[name], seed, kinds=("conv", "dilated"), layers=2, size=6, channels=2)
           for seed in range(12)]
    assert sum(fit) >= 10


@pytest.mark.parametrize("name", CONFIGS)
def test_interleaved_inputs(name, monkeypatch):
    """Any number of rows side by side gives the same answers, not only the one chosen."""
    rng = np.random.default_rng(3)

    def any_layout(source, steps, graph, config):
        readers = [step for step in steps if source.tensor.name in step.inputs]
        return rng.choice(np.array(layouts(source, readers, graph, config), object))

    monkeypatch.setattr(compiler, "interleaved", any_layout)
    fit = [compare(CONFIGS[name], seed, parity=seed % 2, kinds=("conv", "pooled"), layers=2,
                   size=16, channels=9, input_channels=3, one_dimensional=False, interleaved=True)
           for seed in range(24)]
    assert sum(fit) >= 8


@pytest.mark.parametrize("name", CONFIGS)
def test_averages_over_whole_maps(name):
    """Channels that form blocks and channels that do not, followed by a map with a halo."""
    wide = min(CONFIGS[name].rows, CONFIGS[name].columns)
    fit = [compare(CONFIGS[name], seed, kinds=("global", "conv"), layers=3, size=6,
                   channels=3 * wide) for seed in range(16)]
    assert sum(fit) >= 12


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_that_overlap(name):
    """Pairs of depthwise and pointwise convolutions, of several groups and passes each."""
    fit = [compare(CONFIGS[name], seed, kinds=("depthwise", "pointwise", "add"), layers=5, size=5,
                   channels=12 if name in ("tall", "steps", "odd", "wide") else 40)
           for seed in range(16)]
    assert sum(fit) >= 12


@pytest.mark.parametrize("kind", PLACED)
@pytest.mark.parametrize("name", CONFIGS)
def test_results_written_elsewhere(name, kind):
    """Results at a stride, in part of a map, or behind those of another operation."""
    fit = [compare(CONFIGS[name], seed, parity=seed % 2, kinds=(kind, kind, "conv", "max"),
                   layers=3, size=6, channels=10) for seed in range(12)]
    assert sum(fit) >= (4 if name == "steps" else 8)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(CONFIGS)),
       layers=st.integers(1, 6), parity=st.integers(0, 1), all_outputs=st.booleans())
def test_any_network(seed, name, layers, parity, all_outputs):
    compare(CONFIGS[name], seed, parity, layers=layers, all_outputs=all_outputs, size=10,
            channels=10, kinds=KINDS + FUSED + PLACED)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_many_random_networks(name):
    fit = [compare(CONFIGS[name], seed, parity=seed % 2, all_outputs=seed % 3 == 0, size=12,
                   channels=12, kinds=KINDS + FUSED + PLACED) for seed in range(1000, 1080)]
    assert sum(fit) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS + FUSED + PLACED)
def test_each_kind_alone(kind):
    """Every kind of layer, one after the other of it, on every configuration."""
    for name, config in CONFIGS.items():
        fit = [compare(config, seed, kinds=(kind,), layers=2) for seed in range(8)]
        assert any(fit), name


def test_batch_is_many_machines():
    """Images side by side do not see each other."""
    rng = np.random.default_rng(5)
    case = random_case(rng, CONFIGS["tall"], images=IMAGES, layers=3, size=6, channels=6)
    together = noisy_machine(CONFIGS["tall"], rng)
    case.fill(together.memory, slice(0, IMAGES))
    together.words = case.program.words
    start = together.memory.copy()
    together.run()
    assert (together.memory[0] != together.memory[1]).any()
    for i in range(IMAGES):
        alone = Machine(CONFIGS["tall"])
        alone.memory[:] = start[i]
        alone.words = case.program.words
        alone.run()
        np.testing.assert_array_equal(alone.memory[0], together.memory[i])


def test_two_jobs_of_different_parity():
    """The second job leaves the first one's input and output alone."""
    rng = np.random.default_rng(6)
    case = random_case(rng, CONFIGS["odd"], images=2, layers=3, size=6, channels=6)
    program = case.program
    assert program.input_delta > 0 and program.output_delta > 0
    machine = noisy_machine(CONFIGS["odd"], rng, batch=1)
    machine.words = program.words
    case.fill(machine.memory, slice(0, 1), parity=0)
    case.fill(machine.memory, slice(1, 2), parity=1)
    machine.run()
    machine.run(input_delta=program.input_delta, output_delta=program.output_delta)
    case.check(machine.memory, slice(0, 1), parity=0)
    case.check(machine.memory, slice(1, 2), parity=1)


# -- programs no device can run -----------------------------------------------------------------

def run(words):
    machine = Machine(CONFIG)
    machine.words = np.array(words, np.uint32)
    machine.run()


END = isa.encode(GoHeader, op=Op.END)


def header(engine, first, count):
    return isa.encode(SetHeader, op=Op.SET, engine=engine, first=first, count=count)


@pytest.mark.parametrize("words, message", [
    ([3, END], "word 0 (0x00000003) is no instruction"),
    ([header(Engine.LOAD, 0, 2), 3, 3, 0xFFFFFFFF], "word 3 (0xffffffff) is no instruction"),
    ([Op.GO.value | 3 << 2, END], "word 0 (0x0000000e) is no instruction"),
    ([header(Engine.LOAD, 0, 0), END], "word 0: SET of 0 words from register 0"),
    ([header(Engine.LOAD, 5, 3), 0, 0, 0, END],
     "word 0: SET of 3 words from register 5 does not fit engine LOAD"),
    ([header(Engine.POST, 29, 1), 0, END], "word 0: SET of 1 words from register 29"),
    ([header(Engine.STREAM, 0, 4), 0, 0], "does not fit engine STREAM or the program"),
    ([], "the program has no END"),
    ([header(Engine.LOAD, 0, 1), END], "the program has no END"),
], ids=range(9))
def test_no_instruction(words, message):
    with pytest.raises(IllegalInstruction, match=re.escape(message)):
        run(words)


def test_registers_of_each_engine_end_where_they_should():
    """The last register of each engine may be set."""
    for engine, registers in isa.ENGINE_REGISTERS.items():
        run([header(engine, len(registers) - 1, 1), 0, END])


LOAD = LoadNest(base=0, loops=[Loop(CONFIG.load_words, CONFIG.lanes)])
STREAM = StreamNest(base=0, loops=[Loop(2, 4, acc=1)], pass_level=1, group_level=1)
POST = PostNest(base=100, loops=[Loop(2, 2, acc=1)], group_level=1, params=0, valid=2,
                zero_point=0)


def test_program_that_does_run():
    """The nests below stand still because of what each test changes, not by themselves."""
    run(assemble([LOAD, STREAM, POST], CONFIG))


def place(words, engine):
    """Return the word of an engine's GO: the last of that kind."""
    pcs, pc = [], 0
    while pc < len(words) - 1:
        head = isa.decode(SetHeader, int(words[pc]))
        if head["op"] == Op.GO.value and head["engine"] == engine.value:
            pcs.append(pc)
        pc += 1 + (head["count"] if head["op"] == Op.SET.value else 0)
    return pcs[-1]


@pytest.mark.parametrize("nests, engines", [
    ([LoadNest(base=0, loops=LOAD.loops, token=Token(Engine.POST, 1)), STREAM, POST],
     (Engine.LOAD, Engine.STREAM, Engine.POST)),
    ([STREAM], (Engine.STREAM,)),
    ([POST], (Engine.POST,)),
    ([LOAD, STREAM, POST, LoadNest(base=0, loops=LOAD.loops, token=Token(Engine.STREAM, 2))],
     (Engine.LOAD,)),
], ids=["circle", "no tile", "no group", "token that never comes"])
def test_stuck_program_names_the_words(nests, engines):
    words = assemble(nests, CONFIG)
    waiting = ", ".join(f"{e.name} at word {place(words, e)}" for e in engines)
    with pytest.raises(IllegalInstruction,
                       match=f"the program stands still: {waiting} wait for each other"):
        run(words)


def test_load_of_half_a_tile():
    config = Config(rows=4, columns=4, post_lanes=2, banks=1, bank_words=64, program_words=256)
    assert config.load_words == 4
    machine = Machine(config)
    machine.words = assemble([LoadNest(base=0, loops=[Loop(6, config.lanes)])], config)
    with pytest.raises(IllegalInstruction, match="LOAD of 6 words is no whole number of tiles"):
        machine.run()
