"""Networks that PyTorch exported: quantised, compiled, and close to what the float model answers.

``tests/torch_models/generate.py`` makes such files.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from systolith.boards.targets import find_config
from systolith.sim import golden
from systolith.sim.batch import run_batch
from systolith.sw.importer.load import load_model
from systolith.sw.partition import compile_network

FILES = sorted((Path(__file__).parents[1] / "torch_models").glob("*.onnx"))


def test_there_are_some():
    assert len(FILES) >= 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_answers(path):
    """Golden model and machine agree; errors are those of a network of 8 bits."""
    x = np.random.default_rng(0).normal(0, 1, (32, 3, 16, 16)).astype(np.float32)
    graph = load_model(path, x)
    expected = golden.run_model(graph, x[:6])
    ran = run_batch(compile_network(graph, find_config("ulx3s-85f")), x[:6])
    session = onnxruntime.InferenceSession(path)
    real = session.run(None, {session.get_inputs()[0].name: x[:6]})
    for got, wanted, near in zip(ran, expected, real, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.shape == near.shape
        assert abs(got - near).max() <= 0.05 * abs(near).max()
