"""ONNX operators that move, join, spread or scale maps: against onnxruntime, and on the machine."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from systolith.hw.config import Config
from systolith.sim import golden
from systolith.sim.machine_device import MachineDevice
from systolith.sw import ports
from systolith.sw.device import Device
from systolith.sw.importer import import_onnx
from systolith.sw.ir import Concat, Pool, Select, TransposedConv
from systolith.sw.partition import compile_network
from tests.compiled import CONFIGS
from tests.onnx_models import Model, difference, quantized, reference

#: Share of elements that may differ by 1 from onnxruntime: ties, which are rounded to even there
#: and away from zero here.
RARELY = 0.03


def check(model, proto, form="qdq", activation="int8", most=1, rarely=RARELY, **options):
    """Compare a model with onnxruntime and with its compiled program; return its graph."""
    x = model.data(8 if model.batch == "n" else model.batch)
    proto = quantized(proto, x, form=form, activation=activation, **options)
    for found in difference(proto, x):
        assert abs(found).max() <= most and np.mean(found != 0) <= rarely
    graph = import_onnx(proto, "test.onnx")
    config = Config()
    with Device(MachineDevice(config)) as device:
        device.load(compile_network(graph, config))
        ran = device.run(x)
    for got, expected in zip(ran.outputs, golden.run_model(graph, x), strict=True):
        np.testing.assert_array_equal(got, expected)
    return graph


def spread(m, x, depth, outputs, kernel, group=1, **attributes):
    """Append a ConvTranspose."""
    weights = m.constant(m.rng.normal(0, 1 / np.sqrt(depth), (depth, outputs // group, *kernel)))
    bias = m.constant(m.rng.normal(0, 0.3, outputs))
    return m.node("ConvTranspose", x, weights, bias, group=group, **attributes)


TRANSPOSED = {
    "plain": ((3, 3), {}),
    "doubling": ((2, 2), {"strides": [2, 2]}),
    "cropped": ((4, 3), {"strides": [2, 2], "pads": [1, 0, 2, 1]}),
    "output padding": ((3, 3), {"strides": [2, 3], "pads": [1] * 4, "output_padding": [1, 2]}),
    "gaps": ((1, 2), {"strides": [3, 4]}),
    "dilated": ((3, 2), {"strides": [2, 1], "dilations": [3, 2]}),
    "grouped": ((3, 3), {"strides": [2, 2], "group": 2}),
    "depthwise": ((3, 3), {"strides": [2, 2], "group": 4, "pads": [1] * 4}),
    "output shape": ((3, 3), {"strides": [2, 2], "output_shape": [10, 11]}),
    "same upper": ((3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((3, 4), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "valid": ((3, 3), {"strides": [2, 2], "auto_pad": "VALID"}),
}


@pytest.mark.parametrize("per_channel", [True, False], ids=["channels", "tensor"])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name, per_channel):
    kernel, attributes = TRANSPOSED[name]
    m = Model((4, 5, 6))
    graph = check(m, m.finish(spread(m, "x", 4, 8 if name != "depthwise" else 4, kernel,
                                     **attributes)), per_channel=per_channel and (
        name != "grouped"))  # onnxruntime cannot quantise that
    assert isinstance(graph.ops[0], TransposedConv)


def test_conv_transpose_1d_and_what_follows():
    m = Model((4, 9))
    x = m.node("Relu", spread(m, "x", 4, 6, (3,), strides=[2], pads=[1, 1]))
    check(m, m.finish(m.conv(x, 3, 6, (3,), pads=[1, 1])), most=2)


SIZES = [(1, 1, 2, 2), (1, 1, 3, 1), (1, 1, 1.5, 0.5), (1, 1, 2.6, 0.7)]


@pytest.mark.parametrize("scales", SIZES)
@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners",
                                       "pytorch_half_pixel"])
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize(nearest, transform, scales):
    m = Model((3, 5, 6))
    x = m.conv("x", 3, 3, (1, 1))
    y = m.node("Resize", x, "", m.constant(scales), mode="nearest", nearest_mode=nearest,
               coordinate_transformation_mode=transform)
    graph = check(m, m.finish(y))
    assert [type(op).__name__ for op in graph.ops] == ["Conv", "Select"]


@pytest.mark.parametrize("transform", ["half_pixel", "asymmetric", "align_corners",
                                       "pytorch_half_pixel"])
@pytest.mark.parametrize("size", [(5, 9), (3, 4), (33, 48), (65, 66)])
def test_linear_resize_to_any_size(size, transform):
    """Positions are exact: a map of 65 rows is as close to onnxruntime's as one of three."""
    m = Model((3, 5, 6), batch=4)
    y = m.node("Resize", m.conv("x", 4, 3, (1, 1)), "", "", m.integers(4, 4, *size), mode="linear",
               coordinate_transformation_mode=transform)
    graph = check(m, m.finish(y), rarely=0.2)
    assert [type(op).__name__ for op in graph.ops] == ["Conv", "Bilinear"]


def test_resize_as_tensorflow_did():
    """A coordinate transformation that opset 13 took away."""
    m = Model((3, 5, 6), opset=11)
    y = m.node("Resize", m.conv("x", 3, 3, (1, 1)), m.constant([]), m.constant([1, 1, 2, 1.5]),
               mode="nearest", coordinate_transformation_mode="tf_half_pixel_for_nn")
    check(m, m.finish(y), prepare=False, per_channel=False)


def test_resize_to_a_size_and_what_follows():
    m = Model((3, 4, 4), batch=2)
    y = m.node("Resize", m.conv("x", 5, 3, (3, 3), pads=[1] * 4), "", "", m.integers(2, 5, 8, 8),
               mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    check(m, m.finish(m.conv(y, 4, 5, (3, 3), pads=[1] * 4)), most=2)


@pytest.mark.parametrize("starts, ends, axes, steps", [
    ([1], [4], [1], [1]), ([0, 1], [3, 100], [2, 3], [1, 2]), ([-3], [-1], [-1], [1]),
    ([1, 2, 0], [5, 6, 4], [1, 2, 3], [2, 1, 3]), ([100], [-100], [2], [-1])])
def test_slice(starts, ends, axes, steps):
    m = Model((6, 7, 5))
    x = m.conv("x", 6, 6, (1, 1))
    y = m.node("Slice", x, *(m.integers(*values) for values in (starts, ends, axes, steps)))
    graph = check(m, m.finish(y))
    assert isinstance(graph.ops[-1], Select)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_model_input_in_reverse_is_a_selection(axis):
    """A whole map, but in an order that no transposition of the input gives."""
    m = Model((3, 4, 5))
    x = m.node("Slice", "x", m.integers(-1), m.integers(-9), m.integers(axis), m.integers(-1))
    graph = check(m, m.finish(m.conv(x, 4, 3, (2, 2))))
    assert [type(op) for op in graph.ops][0] is Select


def test_slice_before_a_fully_connected_layer_is_free():
    m = Model((4, 5, 6))
    x = m.node("Slice", m.conv("x", 4, 4, (1, 1)), m.integers(1, 2), m.integers(3, 5),
               m.integers(1, 3))
    graph = check(m, m.finish(m.gemm(m.node("Flatten", x), 7, 2 * 5 * 3)), most=2)
    assert [op.kind for op in graph.ops] == ["Conv", "Gemm"]


@pytest.mark.parametrize("axis, lengths", [(1, [2, 4]), (1, [3, 3]), (2, [1, 4, 3]), (3, [2, 3]),
                                           (-3, [1, 5])])
def test_split(axis, lengths):
    m = Model((6, 8, 5))
    x = m.node("MaxPool", "x", kernel_shape=[1, 1])
    names = [f"part{i}" for i in range(len(lengths))]
    m.nodes.append(onnx.helper.make_node("Split", [x, m.integers(*lengths)], names, axis=axis))
    parts = [m.node("Relu", name) for name in names[:-1]] + names[-1:]
    check(m, m.finish(*parts), rarely=0.05)


def test_gather_and_shuffled_channels():
    m = Model((6, 4, 3))
    x = m.node("Gather", m.conv("x", 6, 6, (1, 1)), m.integers(5, 0, 0, 2), axis=1)
    x = m.node("Reshape", x, m.integers(-1, 2, 2, 4, 3))
    x = m.node("Reshape", m.node("Transpose", x, perm=[0, 2, 1, 3, 4]), m.integers(-1, 4, 4, 3))
    graph = check(m, m.finish(m.conv(x, 3, 4, (3, 3))), most=2)
    assert [op.kind for op in graph.ops] == ["Conv", "Select", "Conv"]
    assert graph.ops[1].channels == (5, 0, 0, 2)


def test_whole_network_of_slices():
    """A focus layer, as YOLO has one, on the model's input; onnxruntime makes it SpaceToDepth."""
    m = Model((3, 8, 6))
    parts = [m.node("Slice", "x", m.integers(y, x), m.integers(99, 99), m.integers(2, 3),
                    m.integers(2, 2)) for x in (0, 1) for y in (0, 1)]
    graph = check(m, m.finish(m.conv(m.node("Concat", *parts, axis=1), 5, 12, (3, 3))), most=2)
    assert {op.kind for op in graph.ops} == {"Select", "SpaceToDepth", "Conv"}


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode):
    m = Model((3, 4, 5))
    y = m.node("DepthToSpace", m.conv("x", 12, 3, (1, 1)), blocksize=2, mode=mode)
    check(m, m.finish(behind(m, y, 3)), most=2)


@pytest.mark.parametrize("form", ["qdq", "qlinear"])
@pytest.mark.parametrize("activation", ["int8", "uint8"])
@pytest.mark.parametrize("axis, shapes", [
    (1, [(3, 1), (4, 1), (5, 1)]), (2, [(4, 1), (4, 2)]), (-1, [(4, 1), (4, 3)])])
def test_concat(axis, shapes, activation, form):
    m = Model((3, 8, 9))
    parts = []
    for outputs, kernel in shapes:
        size = (kernel, 1) if axis == 2 else (1, kernel)
        parts.append(m.conv("x", outputs, 3, size))
    graph = check(m, m.finish(m.node("Concat", *parts, axis=axis)), form, activation, most=2)
    assert isinstance(graph.ops[-1], Concat)


def test_concat_of_vectors_and_sequences():
    m = Model((7,))
    parts = [m.gemm("x", 5, 7), m.gemm("x", 4, 7)]
    check(m, m.finish(m.gemm(m.node("Concat", *parts, axis=1), 3, 9)), most=3, rarely=0.1)
    m = Model((4, 9))
    parts = [m.conv("x", 4, 4, (3,)), m.conv("x", 4, 4, (1,))]
    check(m, m.finish(m.node("Concat", *parts, axis=2)), most=2)


def behind(m, x, depth):
    """Append a convolution: its input is quantised, as not every operator's result is."""
    return m.conv(x, 3, depth, (1, 1))


@pytest.mark.parametrize("form", ["qdq", "qlinear"])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.0, -0.3, 1.5])
def test_leaky_relu(alpha, form):
    m = Model((3, 6, 5))
    check(m, m.finish(m.node("LeakyRelu", m.conv("x", 4, 3, (1, 1)), alpha=alpha)), form, most=2)


@pytest.mark.parametrize("slopes", [[0.1, 0.25, 0.0, 0.9], [0.2, -0.3, 1.4, 0.0], [0.3]])
def test_p_relu(slopes):
    m = Model((3, 6, 5))
    slopes = m.constant(np.reshape(slopes, (-1, 1, 1)))
    y = m.node("PRelu", m.conv("x", 4, 3, (1, 1)), slopes)
    check(m, m.finish(behind(m, y, 4)), most=3, rarely=0.06)


def test_subtract():
    m = Model((3, 6, 5))
    y = m.node("Sub", m.conv("x", 4, 3, (1, 1)), m.conv("x", 4, 3, (1, 1)))
    check(m, m.finish(behind(m, y, 4)), most=2, rarely=0.1)


CONSTANTS = {"scalar": 0.7, "channels": [[[0.5]], [[-1.2]], [[2.0]], [[0.1]]]}


@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("shape", CONSTANTS)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_constants(op, shape, swapped):
    m = Model((3, 6, 5))
    operands = [m.conv("x", 4, 3, (1, 1)), m.constant(CONSTANTS[shape])]
    if swapped and op != "Div":
        operands.reverse()
    check(m, m.finish(behind(m, m.node(op, *operands), 4)), prepare=False, most=2, rarely=0.1)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("what", ["pixel", "row", "channel"])
def test_broadcast_addition(what, order):
    m = Model((3, 6, 5))
    x = m.conv("x", 4, 3, (1, 1))
    small = {"pixel": lambda: m.node("GlobalAveragePool", x),
             "row": lambda: m.conv("x", 4, 3, (6, 1)),
             "channel": lambda: m.conv("x", 1, 3, (1, 1))}[what]()
    check(m, m.finish(m.node("Add", *[x, small][::order])), most=2, rarely=0.1)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [2], [3], [-1, -2]])
def test_reduce_mean(axes, keep):
    m = Model((3, 6, 5))
    y = m.node("ReduceMean", m.conv("x", 4, 3, (1, 1)), axes=axes, keepdims=keep)
    y = behind(m, y, 4) if keep else m.gemm(
        m.node("Flatten", y), 3, 4 * {(2,): 5, (3,): 6}.get(tuple(axes), 1))
    check(m, m.finish(y), most=2, rarely=0.4)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes, hosted", [
    ([2, 3], 0), ([2], 0), ([-1], 0), ([1], 1), ([1, 2], 1), ([1, 3], 1), ([-3, -2, -1], 1)])
def test_reduce_max(axes, hosted, keep):
    """Over channels too: the host lays what is compared in a row."""
    m = Model((3, 6, 5))
    y = m.node("ReduceMax", m.conv("x", 4, 3, (1, 1)), axes=axes, keepdims=keep)
    graph = check(m, m.finish(y))
    assert [op.kind for op in graph.ops] == ["Conv", *["Rearrange"] * hosted, "ReduceMax"]


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 9)])
def test_global_max_pool(shape):
    m = Model(shape)
    x = m.conv("x", 4, 3, (1,) * (len(shape) - 1))
    check(m, m.finish(m.gemm(m.node("Flatten", m.node("GlobalMaxPool", x)), 5, 4)))


@pytest.mark.parametrize("axes", [[1], [-3], [1, 2], [1, 3], [1, 2, 3]])
def test_mean_over_channels(axes):
    m = Model((3, 6, 5))
    y = m.node("ReduceMean", m.conv("x", 4, 3, (1, 1)), axes=axes, keepdims=1)
    graph = check(m, m.finish(behind(m, y, 1)), most=2, rarely=0.4)
    assert [op.kind for op in graph.ops][1] == "ReduceMean"


@pytest.mark.parametrize("form", ["qdq", "qlinear"])
@pytest.mark.parametrize("kernel, stride, pads", [
    ([3, 3], [1, 1], [1, 1, 1, 1]), ([3, 3], [2, 2], [0, 1, 2, 2]), ([2, 4], [2, 3], [1, 0, 0, 3]),
    ([7, 7], [1, 1], [3, 3, 3, 3])])
def test_average_that_leaves_padding_out_and_has_a_scale_of_its_own(kernel, stride, pads, form):
    m = Model((3, 6, 7))
    y = m.node("AveragePool", m.conv("x", 5, 3, (1, 1)), kernel_shape=kernel, strides=stride,
               pads=pads)
    graph = check(m, m.finish(y), form=form, rarely=0.2)      # averages tie often
    pool = graph.ops[-1]
    assert pool.pads == tuple(pads)
    if form == "qlinear":       # in QDQ form onnxruntime keeps the input's scale
        assert len(pool.requant.multiplier) == np.prod(kernel)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_averages_of_several_divisors_on_every_configuration(name):
    m = Model((3, 6, 7))
    y = m.node("AveragePool", m.conv("x", 5, 3, (1, 1)), kernel_shape=[3, 2], pads=[1, 1, 2, 0])
    x = m.data(3)
    graph = import_onnx(quantized(m.finish(y), x, form="qlinear"), "test.onnx")
    assert len(graph.ops[-1].requant.left) == 6
    with Device(MachineDevice(CONFIGS[name])) as device:
        device.load(compile_network(graph, CONFIGS[name]))
        ran = device.run(x)
    np.testing.assert_array_equal(ran.outputs[0], golden.run_model(graph, x)[0])


@pytest.mark.parametrize("alpha, beta", [(2.5, 1.0), (1.0, -0.5), (0.3, 0.0)])
def test_gemm_with_factors(alpha, beta):
    m = Model((7,))
    y = m.gemm("x", 5, 7, alpha=alpha, beta=beta)
    x = m.data(8)
    proto = m.finish(m.fake_quantize(y, 0.05, 3))
    weights = next(t for t in proto.graph.initializer if t.dims == [5, 7])
    levels = m.rng.integers(-127, 128, (5, 7)).astype(np.int8)
    name, scale, zero = weights.name, m.constant(0.01), m.constant(0, np.int8)
    weights.CopyFrom(onnx.numpy_helper.from_array(levels, "levels"))
    proto.graph.initializer.extend(m.initializers[-2:])
    nodes = [onnx.helper.make_node("QuantizeLinear", ["x", scale_in := m.constant(0.03), zero],
                                   ["q"]),
             onnx.helper.make_node("DequantizeLinear", ["q", scale_in, zero], ["d"]),
             onnx.helper.make_node("DequantizeLinear", ["levels", scale, zero], [name])]
    proto.graph.initializer.append(m.initializers[-1])
    gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")
    gemm.input[0] = "d"
    rest = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *rest])
    found, = difference(proto, x)
    assert abs(found).max() <= 1 and np.mean(found != 0) <= RARELY


def test_weights_near_their_zero_point():
    m = Model((4, 6, 6))
    x = m.data(8)
    proto = quantized(m.finish(m.conv("x", 5, 4, (3, 3))), x, per_channel=False)
    expected = reference(proto, x)[0]
    for tensor in proto.graph.initializer:
        if "c1" in tensor.name and tensor.data_type == TensorProto.INT8:
            shifted = onnx.numpy_helper.to_array(tensor).astype(int) // (
                2 if tensor.dims else 1) + 20
            tensor.CopyFrom(onnx.numpy_helper.from_array(shifted.astype(np.int8), tensor.name))
    found, = difference(proto, x)
    assert abs(found).max() <= 1 and np.mean(found != 0) <= RARELY
    assert np.abs(reference(proto, x)[0] - expected).max() > 0      # the change did something


@pytest.mark.parametrize("op", ["Relu", "Sub", "Mul"])
def test_images_of_one_number(op):
    m = Model(())
    x = m.fake_quantize("x", 0.02, 3)
    y = m.node(op, x) if op == "Relu" else m.node(op, x, m.node("Relu", x))
    proto, x = m.finish(m.fake_quantize(y, 0.02, 3)), m.data(8)
    found, = difference(proto, x)
    assert abs(found).max() <= 1


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resize_that_keeps_the_aspect_ratio(policy):
    m = Model((3, 6, 5), opset=18)
    y = m.node("Resize", m.conv("x", 4, 3, (1, 1)), "", "", m.integers(9, 11), axes=[2, 3],
               keep_aspect_ratio_policy=policy, mode="nearest")
    check(m, m.finish(y))


@pytest.mark.parametrize("quantised", [True, False])
@pytest.mark.parametrize("op, attributes", [
    ("Sigmoid", {}), ("Tanh", {}), ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 0.5}),
    ("HardSwish", {})])
def test_functions_at_the_end(op, attributes, quantised):
    m = Model((3, 6, 5))
    x = m.fake_quantize(m.node("MaxPool", m.fake_quantize("x", 0.03, 5), kernel_shape=[2, 2]),
                        0.03, 5)
    y = m.node(op, x, **attributes)
    proto, x = m.finish(m.fake_quantize(y, 0.01, -20) if quantised else y), m.data(8)
    ours, = golden.run_model(import_onnx(proto, "test.onnx"), x)
    theirs, = reference(proto, x)
    assert ours.dtype == theirs.dtype
    # two libraries' exp may differ in the last bit
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_lone_function_of_the_network_in_float():
    """A Sigmoid that nothing quantises again is float to the end."""
    m = Model((3, 6, 5))
    proto = quantized(m.finish(m.conv("x", 4, 3, (1, 1))), m.data(8))
    node = proto.graph.node[-1]
    proto.graph.node.append(onnx.helper.make_node("Sigmoid", [node.output[0]], ["probability"]))
    proto.graph.output[0].name = "probability"
    found, = difference(proto, m.data(8))
    assert proto.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert not found.any()


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_shapes_that_pytorch_tells_of_ceil_mode(op):
    """The last window would lie in the padding: ONNX counts it, PyTorch and onnxruntime do not."""
    m = Model((3, 13, 13))
    x = m.fake_quantize(m.node(op, m.fake_quantize("x", 0.03, 5), kernel_shape=[2, 2],
                               strides=[2, 2], pads=[1] * 4, ceil_mode=1), 0.03, 5)
    proto, x = m.finish(x), m.data(8)
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(
        proto.graph.output[0].name, TensorProto.FLOAT, ["n", 3, 7, 7]))
    found, = difference(proto, x)
    assert found.shape == (8, 3, 7, 7) and abs(found).max() <= 1


#: Attributes that became operands: operator -> opset of the change.
SINCE = {"Squeeze": 13, "ReduceMean": 18, "Split": 13}
#: The newest opset that onnxruntime 1.20, the oldest allowed, runs.
NEWEST = 21


OPERATORS = ["Clip", "Squeeze", "ReduceMean", "Slice", "Pad", "Split", "Resize", "Concat",
             "LeakyRelu", "PRelu", "ConvTranspose", "Sub", "Gather"]


def network_of(op, opset):
    """Return a model of an operator in the form that an opset has it."""
    m = Model((4, 6, 5), opset=opset)
    x = m.conv("x", 4, 4, (1, 1))
    outputs = [{
        "Clip": lambda: m.node(op, x, m.constant(-0.5), m.constant(0.5)),
        "Squeeze": lambda: listed(m, op, m.node("GlobalAveragePool", x), opset, axes=[2, 3]),
        "ReduceMean": lambda: behind(m, listed(m, op, x, opset, axes=[2, 3]), 4),
        "Slice": lambda: m.node(op, x, m.integers(1), m.integers(3), m.integers(1)),
        "Pad": lambda: m.conv(m.node(op, x, m.integers(0, 0, 1, 2, 0, 0, 1, 0)), 2, 4, (3, 3)),
        "Resize": lambda: m.node(op, x, m.constant([]), m.constant([1, 1, 2, 2]), mode="nearest"),
        "Concat": lambda: m.node(op, x, m.conv("x", 3, 4, (1, 1)), axis=1),
        "LeakyRelu": lambda: m.node(op, x, alpha=0.2),
        "PRelu": lambda: behind(m, m.node(op, x, m.constant(np.full((4, 1, 1), 0.2))), 4),
        "ConvTranspose": lambda: spread(m, x, 4, 3, (2, 2), strides=[2, 2]),
        "Sub": lambda: behind(m, m.node(op, x, m.conv("x", 4, 4, (1, 1))), 4),
        "Gather": lambda: m.node(op, x, m.integers(2, 0), axis=1),
        "Split": lambda: None,
    }[op]()]
    if op == "Split":
        outputs = ["first", "second"]
        lengths = {"split": [1, 3]} if opset < SINCE[op] else {}
        operands = [] if lengths else [m.integers(1, 3)]
        m.nodes.append(onnx.helper.make_node(op, [x, *operands], outputs, axis=1, **lengths))
    return m, m.finish(*outputs)


@pytest.mark.parametrize("opset", range(11, NEWEST + 1))
@pytest.mark.parametrize("op", OPERATORS)
def test_every_opset(op, opset):
    m, proto = network_of(op, opset)
    check(m, proto, most=2, rarely=0.3 if op == "ReduceMean" else 0.1, prepare=False,
          per_channel=opset >= 13)


@pytest.mark.parametrize("op", OPERATORS)
def test_newest_opset(op):
    """The newest that the installed onnx knows, which onnxruntime need not run."""
    m, proto = network_of(op, NEWEST)
    x = m.data(8)
    proto = quantized(proto, x, prepare=False)
    expected = golden.run_model(import_onnx(proto, "test.onnx"), x)
    proto.opset_import[0].version = onnx.defs.onnx_opset_version()
    for got, array in zip(golden.run_model(import_onnx(proto, "test.onnx"), x), expected,
                          strict=True):
        np.testing.assert_array_equal(got, array)


def listed(m, op, x, opset, **lists):
    """Append a node whose lists are attributes up to some opset and operands from then on."""
    if opset < SINCE[op]:
        return m.node(op, x, **lists)
    return m.node(op, x, *(m.integers(*values) for values in lists.values()))


@pytest.mark.parametrize("opset", [18, 19, 20, 21])
def test_split_into_equal_parts(opset):
    m = Model((5, 6, 5), opset=opset)
    x = m.conv("x", 5, 5, (1, 1))
    m.nodes.append(onnx.helper.make_node("Split", [x], ["a", "b", "c"], axis=1, num_outputs=3))
    graph = check(m, m.finish("a", "b", "c"), prepare=False)
    assert [len(op.channels) for op in graph.ops[1:]] == [2, 2, 1]


def random_network(rng):
    """Return a float CNN of operators that move, join, spread or scale maps, and its Model."""
    channels, size = int(rng.integers(2, 6)), int(rng.integers(5, 9))
    m = Model((channels, size, size), seed=int(rng.integers(1 << 30)))
    x = m.conv("x", channels, channels, (1, 1))
    for _ in range(4):
        kind = rng.choice(["up", "nearest", "slice", "join", "leaky", "slopes", "affine", "gate",
                           "less", "conv"])
        if kind in ("up", "nearest") and size < 16:
            x = spread(m, x, channels, channels, (3, 3), strides=[2, 2], pads=[1] * 4,
                       output_padding=[1, 1]) if kind == "up" else m.node(
                "Resize", x, "", m.constant([1, 1, 2, 2]), mode="nearest")
            size *= 2
        elif kind == "slice" and size > 4:
            x = m.node("Slice", x, m.integers(1, 0), m.integers(size - 1, size - 2),
                       m.integers(2, 3))
            size -= 2
        elif kind == "join" and channels < 8:
            x = m.node("Concat", m.conv(x, 3, channels, (1, 1)), x, axis=1)
            channels += 3
        elif kind == "leaky":
            x = m.node("LeakyRelu", x, alpha=float(rng.uniform(0, 0.9)))
        elif kind == "slopes":
            x = m.node("PRelu", x, m.constant(rng.uniform(-1, 1, (channels, 1, 1))))
        elif kind == "affine":
            x = m.node("Sub", m.node("Mul", x, m.constant(rng.uniform(0.5, 2, (channels, 1, 1)))),
                       m.constant(0.3))
        elif kind == "gate":
            x = m.node("Add", x, m.node("GlobalAveragePool", x))
        elif kind == "less":
            x = m.node("Sub", m.conv(x, channels, channels, (3, 3), pads=[1] * 4), x)
        x = m.conv(x, channels, channels, (1, 1))
    return m, m.finish(x)


@pytest.mark.parametrize("seed", range(20))
def test_every_layer_of_random_networks_is_within_one_step(seed):
    """Each operator gets onnxruntime's own integers, so that differences do not add up."""
    m, proto = random_network(np.random.default_rng(seed))
    x = m.data(8)
    proto = quantized(proto, x, prepare=False)
    shown = onnx.ModelProto.FromString(proto.SerializeToString())
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(node.output[0], TensorProto.INT8, None)
        for node in proto.graph.node if node.op_type == "QuantizeLinear")
    graph = import_onnx(shown, "test.onnx")
    theirs, ours, compared = {}, {}, 0
    for port, array in zip(graph.outputs, reference(shown, x), strict=True):
        if port.dtype == "int8":
            theirs[port.tensor] = ports.encode(port, graph.tensors[port.tensor], array)
    theirs |= {op.x: theirs[op.output] for op in graph.ops if op.kind == "Copy"}
    for op in graph.ops:
        ours[op.output] = golden.run_op(graph, op, [
            theirs.get(name, ours.get(name)) for name in op.inputs])
        if op.output in theirs:
            off = np.abs(ours[op.output].astype(int) - theirs[op.output])
            tie = isinstance(op, Pool) and op.mode == "average"
            assert off.max() <= 1 and np.mean(off) <= (0.3 if tie else 0.05), op
            compared += 1
    assert compared >= 5
    config = Config(banks=8)
    with Device(MachineDevice(config)) as device:
        device.load(compile_network(import_onnx(proto, "test.onnx"), config))
        ran = device.run(x)
    for got, expected in zip(ran.outputs, golden.run_model(import_onnx(proto, "test.onnx"), x),
                             strict=True):
        np.testing.assert_array_equal(got, expected)
