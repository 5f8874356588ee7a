"""Networks for several images at once: the same answers, in a job that takes them together."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.batch import run_batch
from systolith.sw.batching import batched, image_of
from systolith.sw.compiler import compile_graph
from systolith.sw.errors import CapacityError
from systolith.sw.ir import Concat, Conv, Select
from systolith.sw.passes.verify import verify
from systolith.sw.program import Program
from tests.compiled import CONFIGS, with_all_outputs
from tests.networks import FUSED, KINDS, PLACED, random_graph

#: Networks that end in a few fully connected layers, as a rule.
HEADS = (*KINDS, *FUSED, *PLACED, "dense", "dense", "global")


def network(seed, all_outputs=False, **options):
    graph = random_graph(np.random.default_rng(seed), **{
        "kinds": HEADS, "layers": 5, "size": 6, "channels": 8} | options)
    return with_all_outputs(graph) if all_outputs else graph


def arrays(graph, count):
    rng = np.random.default_rng(count)
    return rng.integers(-128, 128, (count, *graph.inputs[0].shape)).astype(np.int8)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(2, 4), all_outputs=st.booleans(),
       by_layer=st.booleans())
def test_a_batched_network_is_the_network(seed, images, all_outputs, by_layer):
    """Golden model: maps of all images lie below each other, or apart under names of their own."""
    graph = network(seed, all_outputs)
    many = batched(graph, images, by_layer)
    verify(many)
    maps = golden.run(graph, {graph.inputs[0].tensor: arrays(graph, images).transpose(0, 2, 3, 1)})
    given_maps = {}
    for name, x in maps.items():
        h, w, c = graph.tensors[name].shape
        given_maps[name] = x.reshape(1, images * h, w, c)
        given_maps |= {image_of(name, i): x[i:i + 1] for i in range(images)}
    found = golden.run(many, {port.tensor: given_maps[port.tensor] for port in many.inputs})
    for name, x in found.items():
        np.testing.assert_array_equal(x, given_maps[name], name)
    assert sum(map(many.macs, many.ops)) == images * sum(map(graph.macs, graph.ops))


def test_what_images_do_together():
    """A network of one convolution, a maximum and two fully connected layers."""
    graph = random_graph(np.random.default_rng(2), kinds=("dense",), layers=2, size=8,
                         one_dimensional=False)
    many = batched(graph, 3)
    assert [op.name for op in many.ops] == [op.name for op in graph.ops]
    h, w, c = graph.tensors[graph.inputs[0].tensor].shape
    assert h > 1
    assert many.tensors[many.inputs[0].tensor].shape == (3 * h, w, c)
    assert [op.stride for op in many.ops] == [(h, 1), (1, 1)]
    assert many.tensors[many.outputs[0].tensor].shape[:2] == (3, 1)

    graph = network(5, kinds=("pooled", "conv"), layers=2)
    many = batched(graph, 3)
    assert len(many.ops) == 3 * len(graph.ops) and len(many.inputs) == len(many.outputs) == 3
    assert not any(isinstance(op, Concat | Select) for op in many.ops)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(6))
def test_machine_gives_the_golden_answers(name, seed):
    """Of images that fill no whole number of jobs."""
    graph = network(100 * len(name) + seed, all_outputs=seed % 3 == 0)
    images = 2 + seed % 3
    x = arrays(graph, 2 * images - 1)
    try:
        program = compile_graph(graph, CONFIGS[name], images)
    except CapacityError as error:
        pytest.skip(str(error))
    assert program.batch == images
    assert sum(layer.cycles for layer in program.layers) == program.predicted_cycles
    assert sum(layer.macs for layer in program.layers) == images * sum(map(graph.macs, graph.ops))
    again = Program.from_bytes(program.to_bytes())
    for found, expected in zip(run_batch(again, x), golden.run_model(graph, x), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_fully_connected_layers_gain():
    """The time of a tile's weights is shared."""
    graph = random_graph(np.random.default_rng(1), kinds=("dense",), layers=2, size=8, channels=60,
                         one_dimensional=False)
    alone, together = (compile_graph(graph, Config(), batch) for batch in (1, 8))
    assert together.cycles_per_image < 0.25 * alone.cycles_per_image
    assert together.constant_elements == alone.constant_elements


def test_too_many_images_are_refused():
    graph = network(7, kinds=("conv", "pooled", "dense"), layers=3, size=8, channels=6)
    config = replace(CONFIGS["tall"], bank_words=256)
    with pytest.raises(CapacityError, match="200 images at once do not fit: ") as caught:
        compile_graph(graph, config, 200)
    largest = int(re.search(r"the most that fit are (\d+)$", str(caught.value))[1])
    assert 1 < largest < 200
    assert compile_graph(graph, config, largest).batch == largest
    with pytest.raises(CapacityError, match=f"are {largest}$"):
        compile_graph(graph, config, largest + 1)


def test_a_network_that_does_not_fit_alone_says_so():
    """The layer is named, not the batch."""
    graph = network(3, kinds=("dense",), layers=1, size=12, channels=12, one_dimensional=False)
    op = graph.ops[0]
    assert isinstance(op, Conv)
    graph.ops[0] = replace(op, weights=np.full_like(op.weights, -128))
    with pytest.raises(CapacityError, match=f"^{op.name}: a sum of its"):
        compile_graph(graph, replace(Config(), accumulator_bits=20), 4)
