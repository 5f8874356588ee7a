"""The whole core, compiled programs and all: RTL, golden model and cycle model agree."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.boards.icebreaker import ICEBREAKER
from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from tests.compiled import CONFIGS, random_case
from tests.hw.core_bench import run_core
from tests.hw.shallow import SHALLOW
from tests.networks import FUSED, KINDS, PLACED, random_graph

_SMALL = {"rows": 4, "columns": 4, "post_lanes": 2, "banks": 2, "bank_words": 128,
          "frame_bytes": 64, "accumulator_depth": 64}
#: The arrays every test runs on; filling a large memory would take most of the time.
CORES = {name: replace(CONFIGS[name], bank_words=128)
         for name in ("tall", "steps", "odd", "wide")} | {
    "window": replace(CONFIGS["narrow window"], banks=2, bank_words=64, program_words=1024),
    "no residual": Config(residual=False, **_SMALL),
    "lut": Config(multiplier="lut", **_SMALL),
    "mixed": Config(multiplier="mixed", dsp_columns=2, **_SMALL),
    "clusters": Config(multiplier="mixed", dsp_columns=1, cluster_rows=2, cluster_columns=2,
                       multiplier_stages=2, post_multipliers=4, **_SMALL),
    "clusters with window": Config(rows=12, columns=5, post_lanes=5, banks=2, bank_words=64,
                                   frame_bytes=64, accumulator_depth=64, program_words=1024,
                                   window=True, window_width=16, cluster_rows=5,
                                   cluster_columns=2, multiplier_stages=2),
    "shallow": Config(**_SMALL | {"post_lanes": 1}, **SHALLOW),
    "icebreaker": replace(ICEBREAKER.config, bank_words=128),
}
#: Kinds of layers that need ``residual``.
ADDING = ("add", "residual")
#: Cycles of one job the simulator is asked for at most.
LONGEST = 5000


def compare(config, seed, jobs=1, **options):
    """Run a random network on the RTL; return it, or None if it is too large.

    Every image is a job of its own, of alternating parity; memory is noise beforehand.
    """
    rng = np.random.default_rng(seed)
    try:
        case = random_case(rng, config, images=jobs, **{"layers": 2, "size": 5, "channels": 5}
                           | options)
    except CapacityError:
        return None
    program = case.program
    if program.predicted_cycles * jobs > LONGEST:
        return None
    memory = rng.integers(-128, 128, (1, config.memory_elements), np.int8)
    for job in range(jobs):
        case.fill(memory, slice(job, job + 1), job % 2)
    after, cycles = run_core(config, program.words, memory[0], jobs=jobs,
                             input_delta=program.input_delta, output_delta=program.output_delta)
    for job in range(jobs):
        case.check(after[None], slice(job, job + 1), job % 2)
    assert cycles[0] == program.predicted_cycles
    return case


@pytest.mark.parametrize("name, seed, kinds", [
    ("tall", 0, ("conv", "max")),
    ("tall", 1, ("pooled",)),
    ("steps", 0, ("add",)),
    ("wide", 0, ("residual",)),
    ("odd", 6, ("grouped",)),
    ("window", 3, ("depthwise", "average")),
    ("no residual", 0, ("depthwise", "average")),
    ("lut", 0, ("conv",)),
    ("mixed", 3, ("pointwise",)),
    ("clusters", 0, ("conv", "max")),
    ("clusters", 1, ("residual",)),
    ("clusters with window", 3, ("depthwise", "average")),
    ("clusters with window", 2, ("conv",)),
    ("shallow", 0, ("conv", "max")),
    ("shallow", 1, ("depthwise", "average")),
    ("icebreaker", 0, ("conv",)),
    ("icebreaker", 1, ("pooled",)),
    ("icebreaker", 44, ("grouped",)),            # results that are not written take no bank
])
def test_core_agrees(name, seed, kinds):
    case = compare(CORES[name], seed, kinds=kinds, size=4, channels=4)
    assert case, "too large for a test: choose another seed"


@pytest.mark.parametrize("name, seed, kind", [
    ("tall", 67, "conv"), ("tall", 10, "pooled"), ("odd", 46, "conv"), ("wide", 46, "pooled"),
    ("steps", 2, "conv"), ("shallow", 67, "conv"), ("icebreaker", 2, "conv"),
    ("icebreaker", 40, "pooled"), ("window", 5, "conv"),
])
def test_rows_side_by_side(name, seed, kind):
    """Nests that share a group without keeping each other's sums."""
    case = compare(CORES[name], seed, kinds=(kind,), layers=1, size=9, input_channels=2,
                   one_dimensional=False)
    assert case.program.inputs[0].interleave > 1


@pytest.mark.parametrize("name", ["tall", "icebreaker", "window"])
def test_images_at_once(name):
    """A job takes several images; two jobs, the second in the other buffers."""
    config, rng, batch = CORES[name], np.random.default_rng(6), 3
    graph = random_graph(rng, kinds=("conv", "dense"), layers=2, size=4, channels=4)
    program = compile_graph(graph, config, batch)
    x = rng.integers(-128, 128, (2 * batch, *graph.inputs[0].shape)).astype(np.int8)
    memory = rng.integers(-128, 128, config.memory_elements, np.int8)
    for address, elements in program.segments:
        memory[address:address + len(elements)] = elements
    places = [divmod(image, batch) for image in range(len(x))]
    for buffer in program.inputs:
        for place, image in zip(places, x, strict=True):
            address = buffer.place(*place)
            memory[address:address + buffer.elements] = buffer.pack(image)
    after, cycles = run_core(config, program.words, memory, jobs=2,
                             input_delta=program.input_delta, output_delta=program.output_delta)
    output, = program.outputs
    found = [output.unpack(after[output.place(*place):][:output.elements]) for place in places]
    np.testing.assert_array_equal(found, golden.run_model(graph, x)[0])
    assert cycles[0] == program.predicted_cycles


def test_two_jobs_in_two_buffers():
    """The second image has its own buffers, the first one's result is left alone."""
    case = compare(CORES["wide"], 1, jobs=2, size=4, channels=4)
    assert case.program.input_delta and case.program.output_delta


def test_a_job_takes_as_long_as_the_one_before():
    """Nothing is left behind in the engines from job to job."""
    config = CORES["tall"]
    rng = np.random.default_rng(2)
    case = random_case(rng, config, images=1, layers=1, size=4, channels=4)
    memory = rng.integers(-128, 128, (1, config.memory_elements), np.int8)
    case.fill(memory, slice(0, 1))
    after, cycles = run_core(config, case.program.words, memory[0], jobs=3)
    assert cycles == [case.program.predicted_cycles] * 3
    case.check(after[None], slice(0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 106))
@pytest.mark.parametrize("name", CORES)
def test_random_networks(name, seed):
    config = CORES[name]
    kinds = [kind for kind in KINDS + FUSED if config.residual or kind not in ADDING]
    for attempt in range(seed, seed + 1000, 100):
        if compare(config, attempt, jobs=1 + seed % 2, kinds=kinds):
            return
    pytest.fail("no network of ten is small enough")


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLACED)
@pytest.mark.parametrize("name", CORES)
def test_results_written_elsewhere(name, kind):
    config = CORES[name]
    for seed in range(200, 230):
        if compare(config, seed, kinds=[kind, "conv", kind], layers=2, size=5, channels=6):
            return
    pytest.fail("no network of thirty is small enough")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [249, 275])
def test_reads_that_a_write_delays(seed):
    """Single-ported banks: POST's results may come between its parameters and the memory."""
    assert compare(CORES["steps"], seed, kinds=list(KINDS + FUSED))
