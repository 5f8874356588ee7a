"""Random CNNs that TensorFlow converted from Keras: bit for bit what the reference kernels answer.

``tests/keras_models/generate.py`` makes such files.
"""

from pathlib import Path

import numpy as np
import pytest

from systolith.boards.targets import find_config
from systolith.sim.batch import run_batch
from systolith.sw.importer.tflite import import_tflite
from systolith.sw.partition import compile_network
from tests.tflite_models import reference

FILES = sorted((Path(__file__).parents[1] / "keras_models").glob("*.tflite"),
               key=lambda path: int(path.stem))


def random_inputs(graph, count):
    port, = graph.inputs
    rng = np.random.default_rng(0)
    if port.dtype == "float32":
        return rng.normal(0, 1.5, (count, *port.shape)).astype(np.float32)
    limits = np.iinfo(port.dtype)
    return rng.integers(limits.min, limits.max + 1, (count, *port.shape), port.dtype)


def test_there_are_some_of_each_kind():
    ends = {import_tflite(path.read_bytes(), path.name).inputs[0].dtype for path in FILES}
    assert len(FILES) >= 8 and ends == {"int8", "uint8", "float32"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_answers_are_the_reference_kernels(path):
    data = path.read_bytes()
    graph = import_tflite(data, path.name)
    x = random_inputs(graph, 6)
    answers = run_batch(compile_network(graph, find_config("ulx3s-85f")), x)
    for found, expected in zip(answers, reference(data, x), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
