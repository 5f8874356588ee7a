"""Float models through onnxruntime's quantiser."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest

from systolith.sim import golden
from systolith.sw.errors import DataError, ModelError
from systolith.sw.importer import load_model
from systolith.sw.ir import Conv
from systolith.sw.quantize import quantize
from tests.onnx_models import Model, reference


def network(**options):
    """A float CNN with BatchNormalization, in float32, and its inputs."""
    m = Model((3, 8, 8), **options)
    x = m.node("Relu", m.batch_norm(m.conv("x", 8, 3, (3, 3), bias=False), 8))
    x = m.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = m.node("Relu", m.conv(x, 8, 1, (3, 3), group=8, pads=[1] * 4))
    x = m.node("Flatten", m.node("GlobalAveragePool", x))
    return m, m.finish(m.gemm(x, 5, 8))


@pytest.fixture
def path(tmp_path):
    def save(proto):
        onnx.save(proto, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"
    return save


@pytest.mark.parametrize("opset, batch", [(11, "n"), (13, "n"), (17, 1), (17, 8), (21, "n")])
def test_float_model_keeps_its_answers(path, opset, batch):
    m, proto = network(opset=opset, batch=batch)
    x = m.data(20)
    graph = load_model(path(proto), calibration=x)
    y, = golden.run_model(graph, x)
    size = 20 if batch == "n" else batch
    expected = np.concatenate([reference(proto, x[i:i + size])[0]
                               for i in range(0, 20 // size * size, size)])
    error = np.abs(y[:len(expected)] - expected)
    assert error.max() < 0.1 * np.ptp(expected)


def test_batch_norm_is_folded_and_weights_are_per_channel(path):
    m, proto = network()
    graph = load_model(path(proto), calibration=m.data())
    assert [op.kind for op in graph.ops] == ["Conv", "MaxPool", "Conv", "GlobalAveragePool",
                                             "Gemm"]
    first = graph.ops[0]
    assert isinstance(first, Conv) and len(set(first.requant.multiplier.tolist())) == 8
    assert (np.abs(first.weights).max(axis=(1, 2, 3)) == 127).all()


def test_float64_data_and_a_mapping_serve(path):
    m, proto = network()
    x = m.data()
    file = path(proto)
    one = load_model(file, calibration=x)
    other = load_model(file, calibration={"x": x.astype(np.float64)})
    assert np.array_equal(*(golden.run_model(graph, x)[0] for graph in (one, other)))


def test_result_is_a_model_onnxruntime_runs():
    m, proto = network()
    x = m.data()
    model = quantize(proto, "net.onnx", x)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert session.run(None, {"x": x})[0].shape == (16, 5)


def test_logging_is_left_as_it_was():
    m, proto = network()
    level = logging.getLogger().level
    quantize(proto, "net.onnx", m.data())
    assert logging.getLogger().level == level


def test_float_model_without_data_says_how_to_give_it(path):
    _, proto = network()
    with pytest.raises(ModelError, match=r"not quantised: .*nx3x8x8, float32.*--calibrate"):
        load_model(path(proto))


def test_quantised_model_with_data_is_refused(path):
    m, proto = network()
    model = quantize(proto, "net.onnx", m.data())
    with pytest.raises(ModelError, match="already quantised: leave the calibration data out"):
        load_model(path(model), calibration=m.data())


def changed(index, value):
    def change(x):
        x[index] = value
        return x
    return change


@pytest.mark.parametrize("change, message", [
    (changed((2, 1, 0, 3), np.nan), r"1 values that are NaN or infinite, the first at \[2, 1, 0"),
    (changed(0, np.inf), "192 values that are NaN or infinite"),
    (lambda x: x[:, :, :7], "must have the shape nx3x8x8 .*, not 16x3x7x8"),
    (lambda x: x[0], "not 3x8x8"),
    (lambda x: x[:0], "not 0x3x8x8"),
    (lambda x: (x * 50).astype(np.uint8), "must be float32, not uint8"),
    (lambda x: x.astype(object), "must be float32, not object"),
    (lambda x: {"image": x}, "no calibration data for input 'x'"),
])
def test_unusable_data(path, change, message):
    m, proto = network()
    with pytest.raises(DataError, match=message) as caught:
        load_model(path(proto), calibration=change(m.data()))
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)
