"""Float ONNX models as networks: the same numbers as onnxruntime, before and after training."""

import numpy as np
import pytest

from systolith.sw.errors import DataError, ModelError, UnsupportedError
from systolith.sw.train.graph import AveragePool, Conv, Rectify
from systolith.sw.train.model import TrainableModel
from tests import training_reference
from tests.onnx_models import Model, quantized, reference


def lenet():
    model = Model((1, 28, 28))
    x = "x"
    for outputs, depth in ((6, 1), (16, 6)):
        x = model.node("Relu", model.conv(x, outputs, depth, (5, 5)))
        x = model.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = model.node("Flatten", x)
    for outputs, inputs in ((120, 256), (84, 120)):
        x = model.node("Relu", model.gemm(x, outputs, inputs))
    return model, model.gemm(x, 10, 84)


def residual():
    """Pads of all kinds, a shared map, MatMul with its bias apart, averages, Softmax."""
    model = Model((3, 9, 8))
    x = model.node("Pad", "x", model.integers(0, 0, 1, 0, 0, 0, 0, 1))
    x = model.conv(x, 4, 3, (3, 3), strides=[2, 1], pads=[0, 1, 1, 0])
    branch = model.node("Relu", model.conv(x, 4, 4, (3, 3), auto_pad="SAME_UPPER", bias=False))
    x = model.node("Relu", model.node("Add", x, model.conv(branch, 4, 4, (1, 1))))
    x = model.node("AveragePool", x, kernel_shape=[2, 2], pads=[1, 0, 0, 1], count_include_pad=1)
    x = model.node("Relu", x)
    x = model.node("GlobalAveragePool", model.node("Add", x, x))
    x = model.node("Reshape", x, model.integers(0, -1))
    x = model.node("MatMul", x, model.normal(4, 6))
    x = model.node("Add", x, model.constant(model.rng.normal(0, 1, 6)))
    return model, model.node("Softmax", x)


def sequence():
    model = Model((5, 20))
    x = model.node("Relu", model.conv("x", 6, 5, (3,), pads=[1, 1], strides=[2]))
    x = model.node("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1])
    x = model.node("ReduceMean", model.conv(x, 7, 6, (2,)), axes=[-1], keepdims=0)
    return model, model.gemm(x, 3, 7)


def perceptron():
    model = Model((12,))
    x = model.node("Relu", model.gemm("x", 9, 12))
    return model, model.node("Gemm", x, model.normal(9, 4), model.constant(np.ones(4)))


def real_outputs(trainable, x):
    """Return the network's outputs in float64, and its Softmax where the model has one."""
    network = trainable.network
    parameters = {name: np.asarray(values, float) for name, values in network.parameters.items()}
    values = training_reference.run(network, trainable.inputs(x).astype(float), parameters)
    return values[network.output].reshape(len(x), -1)


def softmax(x):
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("build", [lenet, residual, sequence, perceptron])
def test_the_network_is_the_model_and_writes_back(build):
    model, output = build()
    proto, x = model.finish(output), model.data(5)
    trainable = TrainableModel(proto, "test.onnx")
    network = trainable.network
    for _ in range(2):
        ours = real_outputs(trainable, x)
        if build is residual:
            ours = softmax(ours)
        np.testing.assert_allclose(ours, reference(proto, x)[0], rtol=1e-4, atol=1e-5)
        # once more after every parameter has changed
        random = np.random.default_rng(8)
        for name, values in network.parameters.items():
            network.parameters[name] = (values + random.normal(0, 0.2, values.shape)).astype(
                np.float32)
        before, proto = proto, trainable.updated(network.parameters)
        assert before.SerializeToString() != proto.SerializeToString()
    again = TrainableModel(proto, "again.onnx").network
    for name, values in network.parameters.items():
        assert (again.parameters[name] == values).all()


def test_relus_are_taken_up():
    model, output = lenet()
    network = TrainableModel(model.finish(output), "lenet.onnx").network
    assert sum(values.size for values in network.parameters.values()) == 44_426
    assert [node.rectify for node in network.nodes if isinstance(node, Conv)] == [True] * 4 + [
        False]
    model, output = residual()
    network = TrainableModel(model.finish(output), "residual.onnx").network
    assert [type(network.producer(node.x)) for node in network.nodes
            if isinstance(node, Rectify)] == [AveragePool]


def refused(build, *, shape=(2, 6, 6)):
    model = Model(shape)
    proto = model.finish(build(model))
    with pytest.raises(UnsupportedError) as error:
        TrainableModel(proto, "odd.onnx")
    assert str(error.value).startswith("odd.onnx: ")
    return str(error.value)


@pytest.mark.parametrize("build, message", [
    (lambda m: m.node("Tanh", m.conv("x", 3, 2, (3, 3))), r"'node_tanh1' (Tanh): it has no gradie"),
    (lambda m: m.node("Conv", "x", m.normal(2, 1, 3, 3), group=2), "grouped or dilated"),
    (lambda m: m.conv("x", 3, 2, (2, 2), dilations=[2, 2]), "grouped or dilated"),
    (lambda m: m.node("AveragePool", m.conv("x", 3, 2, (3, 3)), kernel_shape=[2, 2],
                      pads=[1, 1, 0, 0]), "leaves its padding out"),
    (lambda m: m.node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
     "ceil_mode adds windows"),
    (lambda m: m.conv(m.node("Transpose", "x", perm=[0, 1, 3, 2]), 3, 2, (3, 3)), "rearranged"),
    (lambda m: m.node("Add", "x", m.constant(np.ones((1, 2, 1, 1)))), "adds a constant"),
    (lambda m: m.node("Relu", m.node("Softmax", m.gemm(m.node("Flatten", "x"), 3, 72))),
     "follows a Softmax"),
    (lambda m: m.node("Gemm", m.node("Flatten", "x"), m.normal(3, 72), transB=1, alpha=0.5),
     "alpha is not 1"),
])
def test_what_cannot_be_trained_is_named(build, message):
    assert message in refused(build)


def test_shared_weights_are_refused():
    def build(model):
        weights = model.normal(2, 2, 1, 1)
        return model.node("Conv", model.node("Conv", "x", weights), weights)

    assert "no other reads" in refused(build)


def test_all_problems_are_listed():
    text = refused(lambda m: m.node("Elu", m.conv(m.node("Tanh", m.conv("x", 2, 2, (1, 1))), 2, 2,
                                                  (1, 1))))
    assert "Tanh" in text


def test_other_models_are_refused(tmp_path):
    model = Model((2, 6, 6))
    proto = quantized(model.finish(model.conv("x", 3, 2, (3, 3))), model.data())
    with pytest.raises(ModelError, match="quantised: training takes the float model"):
        TrainableModel(proto, "int8.onnx")
    model = Model((2, 6, 6))
    two = model.finish(model.conv("x", 3, 2, (3, 3)), model.conv("x", 3, 2, (3, 3)))
    with pytest.raises(ModelError, match="1 inputs and 2 outputs"):
        TrainableModel(two, "two.onnx")
    path = tmp_path / "none.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be read"):
        TrainableModel.load(path)
    model, output = perceptron()
    trainable = TrainableModel(model.finish(output), "small.onnx")
    with pytest.raises(DataError, match=r"inputs are \[5\], the model reads \[12\]"):
        trainable.inputs(np.zeros((3, 5)))
