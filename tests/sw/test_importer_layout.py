"""Nodes that only move elements: followed exactly, or refused, never wrong."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from systolith.sw.errors import UnsupportedError
from systolith.sw.importer import import_onnx
from systolith.sw.ir import Conv
from tests.onnx_models import Model, difference, quantized


def check(m, y, *, ops=None, batch=16):
    """Compare with onnxruntime; return the graph. In a wrong order nearly all would differ."""
    x = m.data(batch)
    proto = quantized(m.finish(y), x)
    found, = difference(proto, x)
    assert abs(found).max() <= 1 and np.mean(found != 0) < 0.3
    graph = import_onnx(proto, "test.onnx")
    assert ops is None or [op.kind for op in graph.ops] == ops
    return graph


def refused(m, y, message):
    with pytest.raises(UnsupportedError, match=message):
        import_onnx(quantized(m.finish(y), m.data()), "test.onnx")


@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": -3}])
def test_flatten_before_gemm_permutes_the_weights(attributes):
    m = Model((3, 4, 5))
    x = m.node("Flatten", m.conv("x", 4, 3, (2, 2)), **attributes)
    graph = check(m, m.gemm(x, 7, 48), ops=["Conv", "Gemm"])
    assert graph.ops[1].weights.shape == (7, 3, 4, 4)  # one window over the whole (h, w, c) map


@pytest.mark.parametrize("target", [(-1, 48), (0, -1), (-1, 2, 24)])
def test_reshape_before_matmul(target):
    m = Model((3, 4, 5))
    x = m.node("Reshape", m.conv("x", 4, 3, (2, 2)), m.integers(*target))
    if len(target) == 3:
        x = m.node("Reshape", x, m.integers(-1, 48))
    check(m, m.node("MatMul", x, m.normal(48, 5)), ops=["Conv", "MatMul"])


def test_shape_computed_in_the_graph():
    m = Model((3, 4, 5))
    x = m.conv("x", 4, 3, (2, 2))
    batch = m.node("Gather", m.node("Shape", x), m.constant(0, np.int64), axis=0)
    target = m.node("Concat", m.node("Unsqueeze", batch, m.integers(0)), m.integers(-1), axis=0)
    check(m, m.gemm(m.node("Reshape", x, target), 5, 48), ops=["Conv", "Gemm"])


def test_fixed_batch():
    m = Model((3, 4, 5), batch=8)
    x = m.node("Reshape", m.conv("x", 4, 3, (2, 2)), m.integers(8, 48))
    check(m, m.gemm(x, 5, 48), batch=8)


def test_channels_last_model():
    m = Model((6, 7, 3))
    x = m.conv(m.node("Transpose", "x", perm=[0, 3, 1, 2]), 5, 3, (3, 3))
    graph = check(m, m.node("Transpose", x, perm=[0, 2, 3, 1]), ops=["Conv"])
    assert graph.inputs[0].permutation == graph.outputs[0].permutation == (0, 1, 2)


def test_flattened_channels_last():
    m = Model((3, 4, 5))
    x = m.node("Transpose", m.conv("x", 4, 3, (2, 2)), perm=[0, 2, 3, 1])
    check(m, m.gemm(m.node("Flatten", x), 5, 48))


def test_flat_input_becomes_an_image():
    m = Model((108,))
    x = m.node("Reshape", "x", m.integers(-1, 3, 6, 6))
    graph = check(m, m.conv(x, 5, 3, (3, 3)), ops=["Conv"])
    assert graph.inputs[0].shape == (108,) and graph.tensors["x"].shape == (6, 6, 3)


def test_image_input_of_a_fully_connected_network():
    m = Model((1, 4, 5))
    graph = check(m, m.gemm(m.node("Flatten", "x"), 5, 20), ops=["Gemm"])
    assert graph.tensors["x"].shape == (1, 1, 20)


def test_input_with_two_readers_in_one_order():
    m = Model((2, 4, 5))
    x = m.conv("x", 5, 2, (4, 5))
    y = m.gemm(m.node("Flatten", "x"), 5, 40)
    check(m, m.node("Add", m.node("Flatten", x), y))


def test_sequence_through_2d_convolution():
    m = Model((4, 12))
    x = m.node("Unsqueeze", "x", m.integers(2))
    x = m.conv(x, 5, 4, (1, 3))
    check(m, m.node("Squeeze", x, m.integers(2)), ops=["Conv"])


def test_flat_output_of_a_map():
    m = Model((3, 6, 6))
    graph = check(m, m.node("Flatten", m.conv("x", 5, 3, (3, 3))))
    assert graph.outputs[0].shape == (80,)


def test_identity_and_dropout():
    m = Model((3, 6, 6))
    x = m.node("Dropout", m.node("Identity", m.conv("x", 5, 3, (3, 3))), m.constant(0.5))
    check(m, m.conv(x, 2, 5, (1, 1)), ops=["Conv", "Conv"])


def test_transposed_quantised_weights():
    m = Model((20,))
    x = m.data()
    proto = quantized(m.finish(m.gemm("x", 7, 20)), x)
    gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")
    transpose = helper.make_node("Transpose", [gemm.input[1]], ["turned"], perm=[1, 0])
    gemm.input[1] = "turned"
    del gemm.attribute[:]
    place = list(proto.graph.node).index(gemm)
    proto.graph.node.insert(place, transpose)
    found, = difference(proto, x)
    assert abs(found).max() <= 1


@pytest.mark.parametrize("pool, options", [
    ("MaxPool", {}), ("AveragePool", {"count_include_pad": 1}), ("AveragePool", {})])
def test_pad_before_pooling(pool, options):
    m = Model((3, 6, 6))
    x = m.node("Relu", m.conv("x", 4, 3, (1, 1)))
    x = m.node("Pad", x, m.integers(0, 0, 1, 1, 0, 0, 1, 0))
    graph = check(m, m.node(pool, x, kernel_shape=[2, 2], strides=[2, 2], **options))
    assert graph.ops[-1].pads == (1, 1, 1, 0)
    # Zeros that count are summed by a depthwise convolution.
    assert isinstance(graph.ops[-1], Conv) == (pool == "AveragePool")


def test_pad_before_global_average():
    m = Model((3, 6, 6))
    x = m.node("Pad", m.conv("x", 4, 3, (1, 1)), m.integers(0, 0, 1, 1, 0, 0, 1, 0))
    check(m, m.node("GlobalAveragePool", x))


def test_pad_before_gemm():
    m = Model((3, 4, 4))
    x = m.node("Pad", m.conv("x", 2, 3, (1, 1)), m.integers(0, 0, 1, 0, 0, 0, 0, 0))
    check(m, m.gemm(m.node("Flatten", x), 5, 40))


def test_channel_shuffle_is_a_selection():
    m = Model((4, 5, 5))
    x = m.node("Reshape", m.conv("x", 4, 4, (1, 1)), m.integers(-1, 2, 2, 5, 5))
    x = m.node("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = m.node("Reshape", x, m.integers(-1, 4, 5, 5))
    graph = check(m, m.conv(x, 3, 4, (1, 1)), ops=["Conv", "Select", "Conv"])
    assert graph.ops[1].channels == (0, 2, 1, 3)


@pytest.mark.parametrize("mode, amounts", [
    ("constant", (0, 0, -1, -2, 0, 0, 0, -1)), ("constant", (0, 0, -1, 2, 0, 0, 1, -1)),
    ("reflect", (0, 0, 1, 2, 0, 0, 3, 1)), ("edge", (0, 0, 1, 0, 0, 0, 3, 7)),
    ("reflect", (0, 0, -1, 1, 0, 0, 0, 0))])
def test_pads_that_cut_or_repeat(mode, amounts):
    m = Model((3, 6, 6))
    x = m.node("Pad", m.conv("x", 4, 3, (1, 1)), m.integers(*amounts), mode=mode)
    check(m, m.conv(x, 3, 4, (2, 2)))


def test_map_made_of_a_vector():
    """A generator: the host rearranges what no selection of rows, columns and channels gives."""
    m = Model((8,))
    x = m.node("Reshape", m.gemm("x", 48, 8), m.integers(-1, 3, 4, 4))
    check(m, m.conv(x, 3, 3, (1, 1)), ops=["Gemm", "Rearrange", "Conv"])


def test_result_in_an_order_of_its_own():
    m = Model((3, 5, 6))
    x = m.node("Reshape", m.conv("x", 4, 3, (1, 1)), m.integers(-1, 2, 10, 6))
    check(m, m.node("Transpose", x, perm=[0, 2, 1, 3]), ops=["Conv", "Rearrange"])


@pytest.mark.parametrize("swapped", [False, True])
def test_addition_of_different_orders(swapped):
    m = Model((4, 4, 4))
    x = m.conv("x", 4, 4, (1, 1))
    operands = [x, m.node("Transpose", x, perm=[0, 1, 3, 2])]
    check(m, m.node("Add", *operands[::-1 if swapped else 1]), ops=["Conv", "Rearrange", "Add"])


def test_addition_of_parts_in_different_orders():
    """Neither operand is all of a map."""
    m = Model((4, 4, 4))
    x = m.node("Reshape", m.conv("x", 4, 4, (1, 1)), m.integers(-1, 16, 4))
    a, b = (m.node("Slice", x, m.integers(start), m.integers(start + 6), m.integers(1))
            for start in (3, 9))
    check(m, m.node("Add", a, b), ops=["Conv", "Rearrange", "Rearrange", "Add"])


def test_input_with_two_readers_in_two_orders():
    m = Model((4, 4, 4))
    x = m.conv("x", 4, 4, (1, 1))
    y = m.conv(m.node("Transpose", "x", perm=[0, 1, 3, 2]), 4, 4, (1, 1))
    check(m, m.node("Add", x, y), ops=["Conv", "Rearrange", "Conv", "Add"])


@pytest.mark.parametrize("op, inputs, attributes, message", [
    ("Flatten", (), {"axis": 2}, "flattens at axis 2"),
    ("Reshape", ((-1, 25),), {}, "reshapes .* to .*the batch must stay"),
    ("Transpose", (), {"perm": [1, 0, 2, 3]}, "permutes the axes"),
    ("Transpose", (), {}, "permutes the axes"),
    ("Unsqueeze", ((0,),), {}, "inserts the axes"),
    ("Pad", ((0, 0, -5, 0, 0, 0, 0, 0),), {}, "cuts off or reflects more"),
    ("Pad", ((1, 0, 0, 0, 1, 0, 0, 0),), {}, "pads the batch"),
])
def test_impossible_layout_is_refused(op, inputs, attributes, message):
    m = Model((4, 5, 5))
    x = m.conv("x", 4, 4, (1, 1))
    refused(m, m.node(op, x, *(m.integers(*i) for i in inputs), **attributes), message)


def test_padding_with_another_value_is_refused():
    m = Model((4, 5, 5))
    x = m.node("Pad", m.conv("x", 4, 4, (1, 1)), m.integers(0, 0, 1, 0, 0, 0, 1, 0),
               m.constant(1.0))
    refused(m, m.conv(x, 4, 4, (3, 3)), "pads with 1; only padding with 0")


def test_zeros_before_a_maximum_of_anything_take_part():
    m = Model((4, 5, 5))
    x = m.node("Pad", m.conv("x", 4, 4, (1, 1)), m.integers(0, 0, 1, 0, 0, 0, 1, 0))
    check(m, m.node("MaxPool", x, kernel_shape=[2, 2]), ops=["Conv", "Pad", "MaxPool"])


def channels_widened(m):
    """Return a map of 4 + 1 + 2 channels, the last three zeros, and one row more."""
    return m.node("Pad", m.conv("x", 4, 3, (1, 1)), m.integers(0, 1, 0, 0, 0, 2, 1, 0))


@pytest.mark.parametrize("build", [
    channels_widened,
    lambda m: m.conv(channels_widened(m), 3, 7, (2, 2)),
    lambda m: m.node("LeakyRelu", channels_widened(m)),
    lambda m: m.conv(m.node("ReduceMean", channels_widened(m), axes=[1]), 3, 1, (1, 1)),
    lambda m: m.node("Concat", channels_widened(m), channels_widened(m), axis=1),
    lambda m: m.node("Add", channels_widened(m), m.constant(np.ones((7, 1, 1)))),
    lambda m: m.node("AveragePool", channels_widened(m), kernel_shape=[3, 3], pads=[1] * 4),
    lambda m: m.node("Mul", channels_widened(m), channels_widened(m)),
    lambda m: m.node("ConvTranspose", channels_widened(m), m.normal(7, 2, 3, 3), strides=[2, 2]),
], ids=["end", "conv", "leaky", "mean", "concat", "add", "average", "product", "transposed"])
def test_padded_channels_and_what_follows(build):
    m = Model((3, 6, 6))
    check(m, build(m))


def test_batch_norm_behind_a_pad_is_not_folded():
    """The zeros become the norm's bias, which folding would leave out."""
    m = Model((3, 5, 5))
    weights = m.fake_quantize(m.normal(4, 3, 1, 1), np.float32(0.01), 0)
    x = m.node("Conv", m.fake_quantize("x", np.float32(0.05), 0), weights)
    x = m.node("Pad", x, m.integers(0, 0, 1, 1, 0, 0, 1, 1))
    y = m.fake_quantize(m.batch_norm(x, 4), np.float32(0.05), 0)
    with pytest.raises(UnsupportedError, match="its input is a float result"):
        import_onnx(m.finish(y), "test.onnx")


@pytest.mark.parametrize("repeat, size", [
    (lambda m, x: m.node("Pad", x, m.integers(0, 0, 1, 2, 0, 0, 0, 1), mode="edge"), 3 * 5 * 7),
    (lambda m, x: m.node("Resize", x, "", m.constant([1, 1, 2, 1]), mode="nearest"), 3 * 8 * 4),
    (lambda m, x: m.node("Gather", x, m.integers(0, 2, 2, 1), axis=1), 4 * 4 * 4)],
    ids=["edge", "nearest", "gather"])
def test_repeated_elements_before_a_fully_connected_layer(repeat, size):
    """No weight can stand for two: the elements are repeated in memory."""
    m = Model((3, 4, 4))
    x = m.node("Flatten", repeat(m, m.conv("x", 3, 3, (1, 1))))
    check(m, m.gemm(x, 5, size), ops=["Conv", "Select", "Gemm"])


def test_product_at_every_pixel_of_a_part():
    m = Model((3, 4, 6))
    x = m.node("Transpose", m.conv("x", 8, 3, (1, 1)), perm=[0, 2, 3, 1])
    x = m.node("Slice", x, m.integers(1), m.integers(3), m.integers(1))
    check(m, m.node("MatMul", x, m.normal(8, 5)), ops=["Conv", "Select", "MatMul"])
    m = Model((3, 4, 6))
    x = m.node("Reshape", m.conv("x", 8, 3, (1, 1)), m.integers(-1, 16, 12))
    check(m, m.node("MatMul", x, m.normal(12, 5)), ops=["Conv", "Rearrange", "MatMul"])


def test_float_constants_are_not_weights():
    m = Model((4, 5, 5))
    proto = quantized(m.finish(m.conv("x", 4, 4, (1, 1))), m.data())
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    conv.input[1] = "plain"
    proto.graph.initializer.append(
        numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "plain"))
    with pytest.raises(UnsupportedError, match="weights are not quantised constants"):
        import_onnx(proto, "test.onnx")
