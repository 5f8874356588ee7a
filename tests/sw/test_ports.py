import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from systolith.sw.errors import DataError
from systolith.sw.ir import HostStep, Port, Tensor
from systolith.sw.ports import decode, encode

TENSOR = Tensor(name="t", shape=(2, 3, 4), scale=0.05, zero_point=-7)
CHW = {"name": "x", "tensor": "t", "shape": (4, 2, 3), "permutation": (1, 2, 0)}


def run(nodes, x, output=TensorProto.FLOAT, **constants):
    """Run nodes in onnxruntime; ``output`` is the result's type."""
    infos = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), None)]
    arrays = [helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.ravel())
              for name, a in constants.items()]
    graph = helper.make_graph(nodes, "g", infos, [
        helper.make_tensor_value_info("y", output, None)], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]


def parameters(zero_point):
    return {"s": np.array(0.05, np.float32), "z": np.array(zero_point)}


@pytest.mark.parametrize("shape, permutation", [
    ((4, 2, 3), (1, 2, 0)), ((2, 3, 4), (0, 1, 2)), ((3, 4, 2), (2, 0, 1))])
def test_layout(shape, permutation):
    port = Port(name="x", tensor="t", shape=shape, dtype="int8", permutation=permutation)
    x = np.arange(-24, 24).astype(np.int8).reshape(2, *shape)
    maps = encode(port, TENSOR, x)
    assert np.array_equal(maps, x.transpose(0, *(axis + 1 for axis in permutation)))
    assert np.array_equal(decode(port, TENSOR, maps), x)


def test_flattened_channels_first():
    port = Port(name="x", tensor="t", shape=(24,), dtype="int8", permutation=(1, 2, 0))
    x = np.arange(24).astype(np.int8).reshape(1, 24)
    maps = encode(port, TENSOR, x)
    assert np.array_equal(maps, x.reshape(1, 4, 2, 3).transpose(0, 2, 3, 1))
    assert np.array_equal(decode(port, TENSOR, maps), x)


def test_uint8_is_shifted():
    port = Port(**CHW, dtype="uint8", offset=-128)
    x = np.full((1, 4, 2, 3), 200, np.uint8)
    maps = encode(port, TENSOR, x)
    assert maps.dtype == np.int8 and (maps == 72).all()
    assert np.array_equal(decode(port, TENSOR, maps), x) and decode(
        port, TENSOR, maps).dtype == np.uint8


def test_quantize_is_onnxruntimes():
    port = Port(**CHW, dtype="float32", steps=(HostStep(kind="quantize"),))
    x = np.random.default_rng(0).normal(0, 3, (50, 4, 2, 3)).astype(np.float32)
    x.flat[:6] = (0.025, 0.075, -0.025, 1e30, -1e30, np.inf)
    expected = run([helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])], x,
                   TensorProto.INT8, **parameters(np.int8(-7)))
    assert np.array_equal(encode(port, TENSOR, x), expected.transpose(0, 2, 3, 1))


def test_dequantize_is_onnxruntimes():
    port = Port(**CHW, dtype="float32", steps=(HostStep(kind="dequantize"),))
    maps = np.arange(-120, 120).astype(np.int8).reshape(10, 2, 3, 4)
    expected = run([helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])],
                   np.ascontiguousarray(maps.transpose(0, 3, 1, 2)), **parameters(np.int8(-7)))
    assert np.array_equal(decode(port, TENSOR, maps), expected)


@pytest.mark.parametrize("axis", [-1, -3])
def test_softmax_is_onnxruntimes(axis):
    port = Port(**CHW, dtype="float32", steps=(
        HostStep(kind="dequantize"), HostStep(kind="softmax", attributes={"axis": axis})))
    maps = np.arange(-120, 120).astype(np.int8).reshape(10, 2, 3, 4)
    logits = (maps.astype(np.float32) + 7).transpose(0, 3, 1, 2) * np.float32(0.05)
    expected = run([helper.make_node("Softmax", ["x"], ["y"], axis=axis)],
                   np.ascontiguousarray(logits))
    np.testing.assert_allclose(decode(port, TENSOR, maps), expected, rtol=1e-6)


def test_probabilities_as_integers():
    step = HostStep(kind="quantize", attributes={
        "scale": 1 / 256, "zero_point": 0, "low": 0, "high": 255})
    port = Port(**CHW, dtype="uint8", steps=(
        HostStep(kind="dequantize"), HostStep(kind="softmax", attributes={"axis": -3}), step))
    result = decode(port, TENSOR, np.zeros((1, 2, 3, 4), np.int8))
    assert result.dtype == np.uint8 and (result == 64).all()


@pytest.mark.parametrize("array, message", [
    (np.zeros((4, 2, 3), np.float32), "must have the shape nx4x2x3 .* not 4x2x3"),
    (np.zeros((1, 2, 3, 4), np.float32), "not 1x2x3x4"),
    (np.float32(3), "a single number"),
    (np.zeros((1, 4, 2, 3), np.uint8), "must be of type float32, not uint8"),
    (np.full((1, 4, 2, 3), np.nan, np.float32), "contains NaN"),
])
def test_wrong_input_is_refused(array, message):
    port = Port(**CHW, dtype="float32", steps=(HostStep(kind="quantize"),))
    with pytest.raises(DataError, match=message) as caught:
        encode(port, TENSOR, array)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_float_input_for_an_integer_model_is_refused():
    with pytest.raises(DataError, match="must be of type int8, not float32"):
        encode(Port(**CHW, dtype="int8"), TENSOR, np.zeros((1, 4, 2, 3), np.float32))


def test_any_float_type_serves_a_float_model():
    port = Port(**CHW, dtype="float32", steps=(HostStep(kind="quantize"),))
    x = np.random.default_rng(0).normal(0, 1, (2, 4, 2, 3))
    assert np.array_equal(encode(port, TENSOR, x), encode(port, TENSOR, x.astype(np.float32)))
