"""Between networks to train, quantised networks and ONNX: the same function everywhere."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from systolith.sim import golden
from systolith.sw.errors import UnsupportedError
from systolith.sw.importer import import_onnx
from systolith.sw.train.builder import randomise
from systolith.sw.train.export import to_onnx
from systolith.sw.train.graph import Add, Conv
from systolith.sw.train.model import TrainableModel
from systolith.sw.train.quantized import network_of, real_inputs
from tests import training_reference
from tests.onnx_models import Model, quantized, reference
from tests.training_networks import networks, small


def outputs(network, x):
    parameters = {name: np.asarray(values, float) for name, values in network.parameters.items()}
    return training_reference.run(network, x, parameters)[network.output]


@settings(max_examples=60)
@given(networks())
def test_onnx_is_the_network_and_comes_back(network):
    x = np.random.default_rng(1).normal(size=(3, *network.shapes["x"])).astype(np.float32)
    model = to_onnx(network, network.parameters)
    expected = outputs(network, x.astype(float)).reshape(3, -1)
    images = np.moveaxis(x, -1, 1)
    np.testing.assert_allclose(reference(model, images)[0].reshape(3, -1), expected, rtol=1e-3,
                               atol=1e-4)
    again = TrainableModel(model, "again.onnx")
    np.testing.assert_allclose(outputs(again.network, again.inputs(images).astype(float)).reshape(
        3, -1), expected, rtol=1e-3, atol=1e-4)


def float_model():
    model = Model((3, 10, 10))
    x = model.node("Relu", model.conv("x", 8, 3, (3, 3), pads=[1, 1, 1, 1]))
    x = model.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    branch = model.node("Relu", model.conv(x, 8, 8, (3, 3), pads=[1, 1, 1, 1]))
    x = model.node("Relu", model.node("Add", x, model.conv(branch, 8, 8, (1, 1))))
    x = model.node("Flatten", model.node("AveragePool", x, kernel_shape=[5, 5]))
    return model, model.gemm(x, 6, 8)


def test_a_quantised_network_is_the_real_one_behind_it():
    model, output = float_model()
    proto, data = model.finish(output), model.data(64)
    graph = import_onnx(quantized(proto, data), "int8.onnx")
    network = network_of(graph)
    assert [type(node) for node in network.nodes if node.rectify] == [Conv, Conv, Add]
    ours = outputs(network, real_inputs(graph, data)).reshape(64, -1)
    (int8,) = golden.run_model(graph, data)
    # of the logits' spread: what eight bits a layer cost
    assert np.abs(ours - int8).mean() < 0.02 * int8.std()
    assert np.abs(ours - reference(proto, data)[0]).mean() < 0.02 * int8.std()


@pytest.mark.parametrize("build, message", [
    (lambda m: m.node("Conv", "x", m.normal(3, 1, 3, 3), group=3), "grouped or dilated"),
    (lambda m: m.node("AveragePool", m.conv("x", 3, 3, (3, 3)), kernel_shape=[2, 2],
                      pads=[1, 1, 0, 0]), "leaves its padding out"),
    (lambda m: m.node("Concat", m.conv("x", 3, 3, (3, 3)), m.conv("x", 3, 3, (3, 3)), axis=1),
     "has no gradient")])
def test_what_cannot_be_trained_is_named(build, message):
    model = Model((3, 6, 6))
    proto = model.finish(build(model))
    graph = import_onnx(quantized(proto, model.data()), "int8.onnx")
    with pytest.raises(UnsupportedError, match=message):
        network_of(graph)


@pytest.mark.parametrize("bounds, message", [({"high": 50}, "upper bound"),
                                             ({"low": 17}, "lower bound that is not 0")])
def test_other_bounds_than_relus_are_refused(bounds, message):
    model, output = float_model()
    graph = import_onnx(quantized(model.finish(output), model.data()), "int8.onnx")
    graph.ops[0] = replace(graph.ops[0], **bounds)
    with pytest.raises(UnsupportedError, match=message):
        network_of(graph)


def test_some_parameters_are_replaced():
    network, before = small(), small().parameters
    randomise(network, 7, ["conv2.weights", "conv2.bias"])
    assert (network.parameters["conv0.weights"] == before["conv0.weights"]).all()
    assert (network.parameters["conv2.weights"] != before["conv2.weights"]).all()
    assert not network.parameters["conv2.bias"].any()
