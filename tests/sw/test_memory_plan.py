"""Memory plans: nothing that is alive at the same time lies in the same place."""

import re
from itertools import combinations, pairwise

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.sw.errors import CapacityError
from systolith.sw.maps import Halo, Map
from systolith.sw.memory_plan import plan_memory
from systolith.sw.steps import fuse
from tests.networks import FUSED, KINDS, random_graph

CONFIG = Config(rows=4, columns=3, post_lanes=3, banks=8, bank_words=1024, frame_bytes=64)
LANES = CONFIG.lanes


def words(elements):
    """Round up to whole words, in elements: vectors may run over the end of a map."""
    return -(-elements // LANES) * LANES


def network(seed, **options):
    """Return graph, steps, maps with random halos, and constants of random sizes."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, **{"layers": 7, "size": 10, "channels": 8,
                                 "kinds": KINDS + FUSED} | options)
    steps = fuse(graph)
    names = [port.tensor for port in graph.inputs] + [step.output for step in steps]
    maps = {}
    for name in names:
        halo = Halo(*(int(n) for n in rng.integers(0, 3, 4)))
        channels = graph.tensors[name].shape[2] + int(rng.integers(2))
        maps[name] = Map(graph.tensors[name], halo, channels)
    return graph, steps, maps, [int(n) for n in rng.integers(1, 300, 2 * len(steps))]


def lives(graph, steps):
    """Return per map the steps from its writer to its last reader, both included."""
    inputs = {port.tensor for port in graph.inputs}
    outputs = {port.tensor for port in graph.outputs}
    found = {}
    for name in [*inputs, *(step.output for step in steps)]:
        uses = [i for i, step in enumerate(steps) if name in step.inputs or name == step.output]
        first = -1 if name in inputs else min(uses)
        found[name] = first, len(steps) if name in outputs else max(uses)
    return found


def occupied(plan, graph, steps, maps):
    """Yield (what, begin, end, first step, last step) of everything in memory."""
    moving = {port.tensor: plan.input_delta for port in graph.inputs}
    moving |= {port.tensor: plan.output_delta for port in graph.outputs}
    for name, (first, last) in lives(graph, steps).items():
        placed, size = plan.maps[name], words(maps[name].elements)
        delta = moving.get(name, 0)
        if delta:                        # the host writes or reads one while the other computes
            for twin in range(2):
                begin = placed.address + twin * delta
                yield f"{name} buffer {twin}", begin, begin + size, -1, len(steps)
        else:
            yield name, placed.address, placed.address + size, first, last


def check(plan, graph, steps, maps, sizes, config=CONFIG):
    things = list(occupied(plan, graph, steps, maps))
    for (a, begin, end, first, last), (b, start, stop, born, dead) in combinations(things, 2):
        apart = end <= start or stop <= begin or last < born or dead < first
        assert apart, f"{a} and {b} share memory"
    for name, since in plan.free_since.items():
        place = plan.maps[name].address, plan.maps[name].address + words(maps[name].elements)
        born = lives(graph, steps)[name][0]
        for what, begin, end, first, last in things:
            apart = end <= place[0] or place[1] <= begin or last < since or first >= born
            assert apart or what.split()[0] == name, f"{name} begins before {what} ends"
    top = max(end for _, _, end, _, _ in things)
    constants = list(zip(plan.constants, sizes, strict=True))
    floor = constants[0][0]
    assert plan.map_elements == top <= floor
    for (address, size), (after, _) in pairwise(constants):
        assert address + words(size) == after
    assert constants[-1][0] + words(constants[-1][1]) == config.memory_elements
    assert plan.constant_elements == config.memory_elements - floor
    for address in [*plan.constants, *(m.address for m in plan.maps.values()), plan.input_delta,
                    plan.output_delta]:
        assert address % LANES == 0


@pytest.mark.parametrize("seed", range(40))
def test_nothing_overlaps(seed):
    graph, steps, maps, sizes = network(seed)
    plan = plan_memory(graph, steps, maps, sizes, CONFIG)
    check(plan, graph, steps, maps, sizes)
    assert plan.input_delta and plan.output_delta
    for name, placed in plan.maps.items():
        assert (placed.tensor, placed.halo, placed.channels) == (
            maps[name].tensor, maps[name].halo, maps[name].channels)


def smallest(graph, steps, maps, sizes):
    """Return configurations with ever fewer words, as long as the network fits."""
    for bank_words in (4096, 2048, 1024, 512, 256, 128, 64):
        for banks in (4, 3, 2):
            config = Config(rows=4, columns=3, post_lanes=3, banks=banks, bank_words=bank_words,
                            frame_bytes=64)
            try:
                yield config, plan_memory(graph, steps, maps, sizes, config)
            except CapacityError:
                return


@pytest.mark.parametrize("seed", range(100, 112))
def test_buffers_are_given_up_for_room(seed):
    """First the input's second buffer, then the output's; never correctness."""
    graph, steps, maps, sizes = network(seed, size=16)
    order = []
    for config, plan in smallest(graph, steps, maps, sizes):
        check(plan, graph, steps, maps, sizes, config)
        order.append((bool(plan.input_delta), bool(plan.output_delta)))
    assert order[0] == (True, True)
    assert order == sorted(order, key=[(True, True), (False, True), (False, False)].index)


def test_memory_is_used_again():
    """A chain of equal maps needs room for few of them however long it is."""
    graph, steps, maps, sizes = network(0, layers=12, kinds=("rescale",), one_dimensional=True)
    assert len(steps) == 12
    maps = {name: Map(m.tensor, Halo(), m.channels) for name, m in maps.items()}
    plan = plan_memory(graph, steps, maps, sizes, CONFIG)
    largest = max(words(m.elements) for m in maps.values())
    assert plan.map_elements <= 6 * largest        # two inputs, two outputs, two between


def test_shortage_names_the_worst_layer_and_what_it_needs():
    refused = 0
    for seed in range(40):
        graph, steps, maps, sizes = network(seed)
        config = Config(rows=4, columns=3, post_lanes=3, banks=1, bank_words=64, frame_bytes=64)
        alive = lives(graph, steps)
        needs = [sum(words(maps[n].elements) for n, (first, last) in alive.items()
                     if first <= i <= last) for i in range(len(steps))]
        constants, worst = sum(map(words, sizes)), max(needs)
        if constants + worst <= config.memory_elements:
            continue
        message = (f"random does not fit {config.describe()}: it needs {constants:,} bytes of "
                   f"weights and parameters and, at {steps[needs.index(worst)].core.name!r}, "
                   f"{worst:,} bytes of feature maps, {constants + worst:,} together of the 256 "
                   "there are")
        with pytest.raises(CapacityError, match=re.escape(message)):
            plan_memory(graph, steps, maps, sizes, config)
        refused += 1
    assert refused > 20


# -- banks --------------------------------------------------------------------------------------

BANK = CONFIG.bank_words * LANES


def banks(begin, end):
    return set(range(begin // BANK, -(-end // BANK)))


def read_together(graph, steps, plan, maps):
    """Yield the banks of the streamed map and of the residual operand of every addition."""
    for step in steps:
        if step.residual and step.residual != step.x:
            yield tuple(banks(plan.maps[name].address, plan.maps[name].address
                              + words(maps[name].elements)) for name in step.inputs)


@pytest.mark.parametrize("seed", range(10))
def test_operands_of_an_addition_lie_in_different_banks(seed):
    """With room to spare: the input of the network may be one of them too."""
    graph, steps, maps, sizes = network(seed, kinds=("residual",), layers=4)
    plan = plan_memory(graph, steps, maps, sizes, CONFIG)
    check(plan, graph, steps, maps, sizes)
    for streamed, added in read_together(graph, steps, plan, maps):
        assert not streamed & added


def test_places_apart_are_given_up_for_room():
    """A memory of one bank and hardly more than is needed."""
    fits = 0
    for seed in range(20):
        graph, steps, maps, sizes = network(seed, kinds=("residual",), layers=4)
        for config, plan in smallest(graph, steps, maps, sizes):
            check(plan, graph, steps, maps, sizes, config)
            fits += 1
    assert fits > 40


def test_single_ports_keep_a_step_apart():
    """A chain of steps: input, results and weights of a step in three places, of two banks."""
    config = Config(rows=4, columns=4, post_lanes=1, banks=2, bank_words=2048, frame_bytes=64,
                    bank_ports="single", alignment=2)
    graph = random_graph(np.random.default_rng(3), layers=4, size=8, channels=4, kinds=("conv",))
    steps = fuse(graph)
    names = [steps[0].x, *(step.output for step in steps)]
    maps = {name: Map(graph.tensors[name], Halo(), 4) for name in names}
    plan = plan_memory(graph, steps, maps, [200] * len(steps), config,
                       [{i} for i in range(len(steps))])
    bank = config.bank_words * config.lanes
    banks = [plan.maps[name].address // bank for name in names]
    weights = [address // bank for address in plan.constants]
    assert len(steps) > 2
    for i in range(len(steps)):
        assert banks[i] != banks[i + 1] and banks[i] != weights[i], (banks, weights)
