"""Systolith behind ONNX's backend interface."""

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.sim.onnx_backend import SystolithBackend
from systolith.sw.errors import CapacityError, UnsupportedError
from tests.onnx_models import Model, quantized, reference


@pytest.fixture(scope="module")
def network():
    model = Model((3, 6, 6))
    y = model.node("Relu", model.conv("x", 4, 3, (3, 3)))
    data = model.data(8)
    return model.finish(y), data


def test_a_quantised_model_answers_as_onnxruntime(network):
    model = quantized(*network)
    outputs = SystolithBackend.prepare(model, "machine:").run([network[1]])
    expected, = reference(model, network[1])
    assert outputs[0].shape == expected.shape
    assert np.abs(outputs[0] - expected).max() <= 1.01 * np.diff(np.unique(expected)).min()


def test_a_float_model_needs_calibration(network):
    model, data = network
    assert not SystolithBackend.is_compatible(model)
    assert SystolithBackend.is_compatible(model, calibration=data)


def test_devices():
    assert SystolithBackend.supports_device("machine:")
    assert not SystolithBackend.supports_device("CUDA")


def test_a_configuration_that_is_too_small(network):
    config = Config(banks=1, bank_words=64, rows=4, columns=4, post_lanes=4)
    with pytest.raises(CapacityError, match="does not fit|program memory"):
        SystolithBackend.prepare(quantized(*network), config=config).run([network[1]])


def test_a_node_alone_is_refused(network):
    with pytest.raises(UnsupportedError, match="a node alone"):
        SystolithBackend.run_node(network[0].graph.node[0], [network[1]])
