"""A batch on the instruction-level model is the device ``machine:``, image after image."""

import numpy as np

from systolith.sim import batch, golden
from systolith.sw import device
from systolith.sw.compiler import compile_graph
from tests.compiled import CONFIGS, random_case
from tests.networks import random_graph


def test_jobs_of_several_images():
    """The last job has too few; cycles are those of a job, shared."""
    graph = random_graph(np.random.default_rng(9), kinds=("conv", "dense"), layers=2, size=6,
                         channels=6)
    program = compile_graph(graph, CONFIGS["default"], 3)
    x = np.random.default_rng(1).integers(-128, 128, (8, *graph.inputs[0].shape)).astype(np.int8)
    with device.open("machine:", program.config) as opened:
        opened.load(program)
        ran = opened.run(x)
        results = list(opened.stream([image] for image in x[:4]))
    expected, = golden.run_model(graph, x)
    np.testing.assert_array_equal(ran.outputs[0], expected)
    np.testing.assert_array_equal(batch.run_batch(program, x)[0], expected)
    np.testing.assert_array_equal([result.outputs[0] for result in results], expected[:4])
    assert ran.cycles_per_image == program.cycles_per_image == program.predicted_cycles / 3


def test_batch_is_the_device(monkeypatch):
    monkeypatch.setattr(batch, "_SIZE", 2)       # 5 images: a batch that is not full
    case = random_case(np.random.default_rng(8), CONFIGS["default"], images=5)
    x = next(iter(case.inputs.values()))
    assert len(case.inputs) == 1
    found = batch.run_batch(case.program, x.transpose(0, 3, 1, 2))
    with device.open("machine:", case.program.config) as opened:
        opened.load(case.program)
        expected = opened.run(x.transpose(0, 3, 1, 2)).outputs
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    golden_outputs = golden.run_model(case.graph, x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(found[0], golden_outputs[0])
