"""Bad and unsupported models: one line that says where, why and what to do; never a traceback."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith.sw.errors import ModelError, SystolithError, UnsupportedError
from systolith.sw.importer import import_onnx, load_model
from tests.onnx_models import Model, quantized


def refused(proto, message):
    """Require the refusal of a model; return its problems."""
    with pytest.raises(UnsupportedError, match=message) as caught:
        import_onnx(proto, "net.onnx")
    text = str(caught.value)
    assert caught.value.exit_code == 2 and text.startswith("net.onnx: ") and "\n" not in text
    for problem in caught.value.problems:
        assert ";" in problem, "a refusal says what to do"
    return caught.value.problems


def small(**options):
    """Return a quantised model of one convolution and its nodes by operator."""
    m = Model((3, 6, 6), **options)
    proto = quantized(m.finish(m.conv("x", 5, 3, (3, 3))), m.data())
    return proto, {node.op_type: node for node in proto.graph.node}


def replace_constant(proto, name, change):
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))


def test_all_unsupported_nodes_are_listed():
    m = Model((3, 6, 6))
    x = m.node("Sin", m.conv("x", 5, 3, (3, 3)))
    x = m.node("Cos", m.conv(x, 5, 5, (3, 3)))
    problems = refused(quantized(m.finish(x), m.data()), "2 nodes cannot be mapped")
    assert [p.split(":")[0] for p in problems] == [
        "node 'node_sin1' (Sin)", "node 'node_cos3' (Cos)"]


@pytest.mark.parametrize("op, inputs, attributes, message", [
    ("Sin", 0, {}, r"\(Sin\): the operator is not supported"),
    ("Resize", 0, {"mode": "cubic"}, "mode is 'cubic'"),
    ("Resize", 0, {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
     "'tf_crop_and_resize' in mode linear"),
    ("Resize", 1.5, {"mode": "linear"}, r"resizes .* by other factors than that: 1, 1.5, 1.5"),
    ("Resize", 1 / 7, {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
     "keeps a single row or column"),
    ("MaxPool", 0, {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilated"),
    ("AveragePool", 0, {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0], "strides": [2, 2],
                        "ceil_mode": 1, "count_include_pad": 1}, "counts some padding"),
    ("ReduceMean", 0, {"axes": [0]}, "reduces the batch"),
    ("Softmax", 0, {"axis": 0}, "over the batch"),
])
def test_operator_outside_the_supported(op, inputs, attributes, message):
    m = Model((4, 7, 7))
    weights = [m.normal(4, 4, 3, 3)] if inputs else []
    if op == "Resize":
        weights = ["", m.constant([1, 1, inputs or 2, inputs or 2])]
    y = m.node(op, m.conv("x", 4, 4, (1, 1)), *weights, **attributes)
    refused(quantized(m.finish(y), m.data()), message)


def behind_a_scale(op, *constants, **attributes):
    """Return a model of one node behind a quantised input, its result quantised."""
    m = Model((4, 5, 5))
    operands = [m.constant(array, array.dtype) for array in constants]
    y = m.node(op, m.fake_quantize("x", np.float32(0.05), 3), *operands, **attributes)
    return m.finish(m.fake_quantize(y, np.float32(0.05), 3))


@pytest.mark.parametrize("op, constants, message", [
    ("Clip", [np.zeros((1, 2), np.float32)], "its min has 2 elements"),
    ("BatchNormalization", [np.ones(4, np.float32), *[np.ones(3, np.float32)] * 3],
     "not a valid ONNX model|factors for an input"),
    ("Pad", [np.eye(8, dtype=np.int64)[2], np.zeros(2, np.float32)],
     "padding value has 2 elements"),
])
def test_constants_of_other_sizes(op, constants, message):
    with pytest.raises(ModelError, match=message):
        import_onnx(behind_a_scale(op, *constants), "net.onnx")


def test_window_smaller_than_the_stride_of_a_transposed_convolution():
    m = Model((4, 5, 5))
    y = m.node("ConvTranspose", m.conv("x", 4, 4, (1, 1)), m.normal(4, 2, 2, 2), strides=[3, 3],
               auto_pad="SAME_UPPER")
    y = m.conv(y, 3, 2, (1, 1))
    refused(quantized(m.finish(y), m.data(), prepare=False), "asks for 15 results")


def test_product_of_activations():
    m = Model((4, 4))
    x = m.node("MatMul", "x", m.normal(4, 4))
    refused(quantized(m.finish(m.node("MatMul", x, x)), m.data()), "both operands are activations")


def test_addition_of_other_ranks():
    m = Model((4, 4, 4), batch=1)
    x = m.conv("x", 4, 4, (1, 1))
    y = m.node("Flatten", m.node("GlobalAveragePool", x))
    refused(quantized(m.finish(m.node("Add", x, y)), m.data(1), prepare=False),
            "same number of dimensions")


def test_dynamic_quantisation():
    m = Model((4,))
    zero = m.constant(0, np.uint8)
    weights = m.constant(np.ones((4, 4)), np.uint8)
    m.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]))
    y = m.node("MatMulInteger", "q", weights, "z", zero)
    proto = m.finish(y, output_type=TensorProto.INT32)
    assert len(refused(proto, "quantises while it runs")) == 2


def test_result_that_is_not_quantised():
    proto, nodes = small()
    proto.graph.output[0].name = nodes["Conv"].output[0]
    refused(proto, r"\(model output\): its input is a float result that was never quantised")
    del proto.graph.node[-2:]
    refused(proto, r"\(Conv\): its float result is never quantised")


def test_input_that_is_not_quantised():
    proto, nodes = small()
    nodes["Conv"].input[0] = "x"
    refused(proto, "computes on the model's float input")


def test_asymmetric_weights():
    proto, _ = small()
    replace_constant(proto, "c1_zero_point", lambda z: z + 100)
    refused(proto, "weights have a zero point; quantise the weights to int8, symmetric")


def test_sixteen_bit_activations():
    m = Model((4, 5, 5), opset=21)
    scale, zero = m.constant(0.1), m.constant(0, np.int16)
    x = m.node("DequantizeLinear", m.node("QuantizeLinear", "x", scale, zero), scale, zero)
    refused(m.finish(m.conv(x, 4, 4, (1, 1))), "quantises to int16; quantise the model again")


def test_scale_for_each_channel_of_an_activation():
    m = Model((4, 5, 5))
    scale, zero = m.constant([0.1] * 4), m.constant([0] * 4, np.int8)
    refused(m.finish(m.node("QuantizeLinear", "x", scale, zero), output_type=TensorProto.INT8),
            "a scale for each channel")


def test_ends_that_disagree():
    proto, nodes = small()
    nodes["DequantizeLinear"].input[1] = nodes["QuantizeLinear"].input[1] = "half"
    proto.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    proto.graph.node[2].input[1] = "x_scale"
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == "x_QuantizeLinear_Output":
            node.input[1] = "half"
    refused(proto, "both ends must agree")


@pytest.mark.parametrize("scale, message", [
    (0.0, "a scale is not a positive number"), (np.nan, "a scale is not a positive number"),
    (1e-12, "needs a left shift above 15")])
def test_impossible_scales(scale, message):
    proto, nodes = small()
    replace_constant(proto, nodes["QuantizeLinear"].input[1],
                     lambda s: np.array(scale, np.float32))
    refused(proto, message)


def test_accumulator_beyond_32_bits():
    proto, _ = small()
    replace_constant(proto, "c0_quantized", lambda b: np.full_like(b, (1 << 31) - 1))
    refused(proto, "may leave 32 bits")


def test_joins_slices_and_slopes_that_cannot_be():
    m = Model((4, 6, 6), batch=2)
    x = m.conv("x", 4, 4, (1, 1))
    joined = m.node("Concat", x, m.conv("x", 4, 4, (1, 1)), axis=0)
    cut = m.node("Slice", x, m.integers(0), m.integers(1), m.integers(0))
    empty = m.node("Slice", x, m.integers(9), m.integers(12), m.integers(1))
    slopes = m.node("PRelu", x, m.normal(4, 6, 6))
    batch = m.node("Gather", x, m.integers(0), axis=0)
    proto = m.finish(joined, cut, empty, slopes, batch)
    proto = fully_quantized(proto, m)
    problems = refused(proto, "5 nodes cannot be mapped")
    for text, (op, message) in zip(problems, [
            ("Concat", "the batch must stay"), ("Slice", "slices the batch"),
            ("Slice", "nothing is left"), ("PRelu", "differs from pixel to pixel"),
            ("Gather", "along the batch")], strict=True):
        assert f"({op})" in text and message in text


def test_product_of_maps_of_other_ranks():
    m = Model((4, 6, 4), batch=1)
    x = m.conv("x", 4, 4, (1, 1))
    vector = m.node("Flatten", m.node("MaxPool", x, kernel_shape=[6, 4]))
    proto = m.finish(m.node("Mul", x, vector))
    refused(fully_quantized(proto, m), r"shapes \(4, 6, 4\) and \(4,\)")


def fully_quantized(proto, m):
    """Quantise the convolutions of a model by hand; nothing is run, so shapes may be any."""
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Conv":
            parameters = m.constant(0.1), m.constant(3, np.int8)
            weights = m.constant(np.ones((4, 4, 1, 1)), np.int8), m.constant(0.1)
            name = node.output[0]
            nodes += [
                helper.make_node("QuantizeLinear", ["x", *parameters], [f"{name}_xq"]),
                helper.make_node("DequantizeLinear", [f"{name}_xq", *parameters], [f"{name}_x"]),
                helper.make_node("DequantizeLinear", weights, [f"{name}_w"]),
                helper.make_node("Conv", [f"{name}_x", f"{name}_w"], [f"{name}_y"]),
                helper.make_node("QuantizeLinear", [f"{name}_y", *parameters], [f"{name}_q"]),
                helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [name])]
        else:
            nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(m.initializers)
    return proto


@pytest.mark.parametrize("attributes, message", [
    ({"alpha": -2.0}, "alpha is -2"), ({"beta": np.inf}, "beta inf"), ({"transA": 1}, "transA")])
def test_general_gemm(attributes, message):
    m = Model((4,), batch=4)
    proto = quantized(m.finish(m.gemm("x", 4, 4)), m.data(4))
    gemm = next(node for node in proto.graph.node if node.op_type == "Gemm")
    gemm.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    refused(proto, message)


# -- whole files ---------------------------------------------------------------------------------

def broken(model, message):
    with pytest.raises(ModelError, match=message) as caught:
        import_onnx(model, "net.onnx")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_input_of_unknown_size():
    proto, _ = small()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    del proto.graph.value_info[:]
    broken(proto, "axis 2 of input 'x' has no fixed size")


def test_input_of_another_type():
    m = Model((4,), dtype=TensorProto.DOUBLE)
    broken(m.finish(m.node("Identity", "x"), output_type=TensorProto.DOUBLE), "'x' is double")


def test_input_without_a_batch():
    m = Model(())
    proto = m.finish(m.node("Identity", "x"))
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    broken(proto, "'x' is a single number: the first dimension must be the batch")


def test_model_that_computes_nothing():
    m = Model((4,))
    broken(m.finish(m.node("Identity", "x")), "its input is|computes nothing|never quantised|float")


def test_old_opset():
    m = Model((4, 4, 4), opset=10)
    broken(m.finish(m.conv("x", 4, 4, (1, 1))), "opset 10 is older than 11")


def test_invalid_model_names_the_first_complaint():
    proto, nodes = small()
    nodes["Conv"].input[0] = "nowhere"
    broken(proto, "not a valid ONNX model: .*'nowhere'")


def write(path, proto):
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("content, message", [
    (b"", "no network in it"), (b"\x00\x01not a model", "not an ONNX model"),
    (None, "No such file")])
def test_unreadable_file(tmp_path, content, message):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model(path)


def test_other_format(tmp_path):
    with pytest.raises(ModelError, match="only ONNX"):
        load_model(tmp_path / "net.pb")


def test_folder(tmp_path):
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(ModelError, match="directory"):
        load_model(tmp_path / "net.onnx")


def test_missing_external_weights(tmp_path):
    proto, _ = small()
    path = tmp_path / "net.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"weights\.bin"):
        load_model(path)


def test_truncated_and_corrupt_files_never_end_in_a_traceback(tmp_path):
    """Every outcome is a graph or one of our errors, whatever a random byte does."""
    content = small()[0].SerializeToString()
    rng = np.random.default_rng(7)
    path = tmp_path / "net.onnx"
    refusals = 0
    for trial in range(150):
        damaged = bytearray(content)
        if trial % 3:
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        else:
            del damaged[rng.integers(len(damaged)):]
        path.write_bytes(damaged)
        try:
            load_model(path)
        except SystolithError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > 75


def test_random_rewiring_never_ends_in_a_traceback():
    """Valid protobuf, senseless model: attributes, operands and constants changed."""
    rng = np.random.default_rng(3)
    m = Model((3, 6, 6))
    x = m.node("MaxPool", m.conv("x", 5, 3, (3, 3)), kernel_shape=[2, 2])
    proto = quantized(m.finish(m.gemm(m.node("Flatten", x), 4, 45)), m.data())
    refusals = 0
    for _ in range(150):
        damaged = onnx.ModelProto.FromString(proto.SerializeToString())
        node = damaged.graph.node[rng.integers(len(damaged.graph.node))]
        stored = damaged.graph.initializer[rng.integers(len(damaged.graph.initializer))]
        match rng.integers(3):
            case 0:
                node.input[rng.integers(len(node.input))] = stored.name
            case 1:
                values = np.atleast_1d(numpy_helper.to_array(stored))
                stored.CopyFrom(numpy_helper.from_array(values[:len(values) // 2], stored.name))
            case 2:
                for attribute in node.attribute:
                    attribute.i = int(rng.integers(-1, 4))
                    attribute.ints[:] = [int(n) for n in rng.integers(-1, 4, len(attribute.ints))]
        try:
            import_onnx(damaged, "net.onnx")
        except ModelError:
            refusals += 1
    assert refusals > 50
