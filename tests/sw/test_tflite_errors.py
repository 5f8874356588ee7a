"""TFLite files that cannot be read or mapped: one line says what, where, why and what to do."""

import numpy as np
import pytest

from systolith.sw.errors import ModelError, UnsupportedError
from systolith.sw.importer.load import load_model
from systolith.sw.importer.tflite import import_tflite
from tests.tflite_models import SAME, VALID, Model
from tests.tflite_networks import random_model


def model(shape=(6, 5, 4)):
    m = Model(np.random.default_rng(0))
    return m, m.map(shape)


def refused(m, xs, ys, *words, error=UnsupportedError):
    """Import; require an error of one line with these words."""
    with pytest.raises(error) as caught:
        import_tflite(m.finish(xs, ys), "net.tflite")
    text = str(caught.value)
    assert "\n" not in text and text.startswith("net.tflite: ")
    for word in words:
        assert word in text, text
    return text


def convolution(m, x, weights=None, bias=True, y=None, **options):
    channels = m.tensors[x].shape[-1]
    w = m.weights((3, 2, 2, channels), 0) if weights is None else weights
    y = m.map((m.tensors[x].shape[1], m.tensors[x].shape[2], 3)) if y is None else y
    operands = [x, w, m.bias(x, w)] if bias else [x, w]
    m.op("CONV_2D", operands, y, "Conv2DOptions",
         **{"Padding": SAME, "StrideH": 1, "StrideW": 1} | options)
    return y


@pytest.mark.parametrize("kind", ["ELU", "ABS", "NEG", "EXP"])
def test_activations_inside_a_model(kind):
    m, x = model()
    z = m.map((6, 5, 4))
    m.op(kind, [x], z)
    y = convolution(m, z)
    refused(m, [x], [y], f"({kind})", "'t1'")


def test_leaky_relu_without_a_slope():
    m, x = model()
    y = m.map((6, 5, 4))
    m.op("LEAKY_RELU", [x], y, "LeakyReluOptions", Alpha=float("nan"))
    refused(m, [x], [y], "slope is nan")


@pytest.mark.parametrize("kind, options, operands, fields, words", [
    ("TRANSPOSE_CONV", "TransposeConvOptions", "size weights x", {"StrideH": 2, "StrideW": 2},
     ["weights", "4 channels"]),
    ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", "x huge", {}, ["too large"]),
    ("SLICE", "SliceOptions", "x batch size", {}, ["slices the batch"]),
    ("STRIDED_SLICE", "StridedSliceOptions", "x batch size size", {"EllipsisMask": 1},
     ["ellipsis"]),
    ("SPLIT", "SplitOptions", "three x", {"NumSplits": 1}, []),
    ("GATHER", "GatherOptions", "x huge", {"Axis": 3}, ["outside the 4"]),
    ("MIRROR_PAD", "MirrorPadOptions", "x wide", {}, ["with more than there is"]),
    ("PRELU", None, "x x", {}, ["slopes are no constant"]),
])
def test_operands_that_cannot_be(kind, options, operands, fields, words):
    m, x = model()
    known = {
        "x": x, "size": m.constant(np.array([1, 6, 5, 4], np.int32)),
        "huge": m.constant(np.array([1 << 14, 1 << 14], np.int32)),
        "batch": m.constant(np.array([1, 0, 0, 0], np.int32)),
        "three": m.constant(np.array(0, np.int32)), "weights": m.weights((3, 2, 2, 5), 0),
        "wide": m.constant(np.array([[0, 0], [9, 0], [0, 0], [0, 0]], np.int32))}
    y = m.map((6, 5, 4), like=x)
    m.op(kind, [known[name] for name in operands.split()], y, options, **fields)
    refused(m, [x], [y], f"({kind})", ";", *words)


def test_parts_of_different_scales():
    m, x = model()
    a, b = m.map((6, 5, 2), like=x), m.map((6, 5, 2))
    m.op("SPLIT", [m.constant(np.int32(3)), x], [a, b], "SplitOptions", NumSplits=2)
    refused(m, [x], [a, b], "different scales")


def test_product_of_maps_that_do_not_fit():
    m, x = model()
    y = m.map((6, 5, 4))
    m.op("MUL", [x, convolution(m, x)], y, "MulOptions")
    refused(m, [x], [y], "shapes (6, 5, 4) and (6, 5, 3)")


@pytest.mark.parametrize("kind", ["DIV", "BATCH_MATMUL", "CUMSUM", "SVDF"])
def test_operators_that_cannot_be_mapped(kind):
    m, x = model()
    y = m.map((6, 5, 4))
    m.op(kind, [x, x], y)
    refused(m, [x], [y], f"node 't1' ({kind})", ";")


def test_every_refused_operator_is_named():
    m, x = model()
    y, z = m.map((6, 5, 4)), m.map((6, 5, 4))
    m.op("MINIMUM", [x, x], y)
    m.op("DIV", [x, x], z)
    assert "2 nodes" in refused(m, [x], [y, z], "(MINIMUM)", "(DIV)")


def test_what_follows_a_refused_operator_is_not_blamed():
    m, x = model()
    y = m.map((6, 5, 4))
    m.op("MINIMUM", [x, x], y)
    assert "CONV_2D" not in refused(m, [x], [convolution(m, y)], "(MINIMUM)")


def test_custom_operator():
    m, x = model()
    y = m.map((6, 5, 4))
    m.op("CUSTOM", [x], y, custom="TFLite_Detection_PostProcess")
    refused(m, [x], [y], "(TFLite_Detection_PostProcess)")


def test_float_model():
    m, _ = model()
    x, y = m.tensor((1, 6, 5, 4), "float32"), m.tensor((1, 6, 5, 3), "float32")
    w = m.constant(np.zeros((3, 2, 2, 4), np.float32))
    convolution(m, x, w, bias=False, y=y)
    refused(m, [x], [y], "float32", "full integer quantisation")


def test_dynamic_range_model():
    m, _ = model()
    x, y = m.tensor((1, 6, 5, 4), "float32"), m.tensor((1, 6, 5, 3), "float32")
    convolution(m, x, m.weights((3, 2, 2, 4), 0), bias=False, y=y)
    refused(m, [x], [y], "float32", "full integer quantisation")


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_other_integers(dtype):
    m, _ = model()
    x, y = m.tensor((1, 6, 5, 4), dtype, 0.1, 3), m.tensor((1, 6, 5, 3), dtype, 0.1, 3)
    convolution(m, x, m.weights((3, 2, 2, 4), 0), bias=False, y=y)
    refused(m, [x], [y], dtype, "int8", error=ModelError)


@pytest.mark.parametrize("dtype", ["int4", "uint8", "float16"])
def test_other_weights(dtype):
    m, x = model()
    array = np.zeros((3, 2, 2, 4), "uint8" if dtype == "int4" else dtype)
    w = m.constant(array, scale=0.1)
    m.tensors[w].dtype = dtype
    refused(m, [x], [convolution(m, x, w, bias=False)], f"weights are {dtype}")


def test_asymmetric_weights():
    m, x = model()
    w = m.constant(np.zeros((3, 2, 2, 4), np.int8), scale=0.1, zero_point=3)
    refused(m, [x], [convolution(m, x, w, bias=False)], "zero point")


def test_weights_that_are_no_constant():
    m, x = model()
    w = m.tensor((1, 2, 2, 4), scale=0.1)
    refused(m, [x, w], [convolution(m, x, w, bias=False)], "no constant")


def test_feature_map_with_many_scales():
    m, x = model()
    y = m.tensor((1, 6, 5, 3), scale=[0.1, 0.2, 0.3])
    refused(m, [x], [convolution(m, x, y=y)], "3 scales")


def test_feature_map_without_a_scale():
    m, x = model()
    refused(m, [x], [convolution(m, x, y=m.tensor((1, 6, 5, 3)))], "0 scales")


def test_input_without_a_scale():
    m, _ = model()
    x = m.tensor((1, 6, 5, 4))
    y = m.map((6, 5, 3))
    w = m.weights((3, 2, 2, 4), 0)
    refused(m, [x], [convolution(m, x, w, bias=False, y=y)], "scale", error=ModelError)


def test_shape_that_is_not_the_operators():
    m, x = model()
    refused(m, [x], [convolution(m, x, y=m.map((6, 4, 3)))], "shape [1, 6, 4, 3]")


def test_weights_for_other_channels():
    m, x = model()
    refused(m, [x], [convolution(m, x, m.weights((3, 2, 2, 3), 0))], "3", "4 channels")


def test_window_larger_than_its_input():
    m, x = model((2, 2, 1))
    w = m.weights((3, 4, 4, 1), 0)
    refused(m, [x], [convolution(m, x, w, Padding=VALID)], "window")


def test_accumulator_beyond_32_bits():
    m, x = model()
    w = m.weights((3, 2, 2, 4), 0)
    b = m.constant(np.full(3, 2**31 - 1, np.int32), scale=1.0)
    y = m.map((6, 5, 3))
    m.op("CONV_2D", [x, w, b], y, "Conv2DOptions", Padding=SAME, StrideH=1, StrideW=1)
    refused(m, [x], [y], "32 bits")


def test_constant_for_every_pixel_and_maps_that_do_not_fit():
    m, x = model()
    small, y, z = m.map((3, 5, 4)), m.map((6, 5, 4)), m.map((6, 5, 4))
    every = m.constant(np.arange(120).reshape(6, 5, 4).astype(np.int8), scale=0.1)
    m.op("ADD", [x, every], y, "AddOptions")
    m.op("ADD", [x, small], z, "AddOptions")
    refused(m, [x, small], [y, z], "pixel to pixel", "axes agree or are 1")


def test_softmax_dequantised_inside():
    m, x = model()
    z = m.map((6, 5, 4), scale=1 / 256, zero_point=-128)
    f = m.tensor((1, 6, 5, 4), "float32")
    m.op("SOFTMAX", [x], z, "SoftmaxOptions", Beta=1.0)
    m.op("DEQUANTIZE", [z], f)
    refused(m, [x], [convolution(m, f, m.weights((3, 2, 2, 4), 0), bias=False)], "float32")


def test_average_over_too_many():
    m, x = model((70, 70, 1))
    y = m.map((1, 1, 1), like=x)
    m.op("AVERAGE_POOL_2D", [x], y, "Pool2DOptions", Padding=VALID, StrideH=1, StrideW=1,
         FilterHeight=70, FilterWidth=70)
    refused(m, [x], [y], "4900", "4096")


def test_pooling_to_another_scale():
    m, x = model()
    y = m.map((3, 2, 4))
    m.op("MAX_POOL_2D", [x], y, "Pool2DOptions", Padding=VALID, StrideH=2, StrideW=2,
         FilterHeight=2, FilterWidth=2)
    refused(m, [x], [y], "another scale")


def test_pad_that_asks_for_everything():
    m, x = model()
    y = m.map((2**30, 5, 4), like=x)
    m.op("PAD", [x, m.constant(np.array([[0, 0], [0, 2**30], [0, 0], [0, 0]], np.int32))], y)
    refused(m, [x], [y], "too large")


def test_reshape_of_the_batch():
    m, x = model()
    y = m.tensor((6, 20), scale=m.tensors[x].scale, zero_point=m.tensors[x].zero_point)
    m.op("RESHAPE", [x, m.constant(np.array([6, 20], np.int32))], y, "ReshapeOptions")
    refused(m, [x], [y], "batch")


def test_dequantize_of_nothing():
    m, x = model()
    y = m.op("DEQUANTIZE", [-1], m.tensor((1, 6, 5, 4), "float32"))
    refused(m, [x], [y], "lacks its first operand")


@pytest.mark.parametrize("scale, zero_point", [(1 / 256, -127), (1 / 128, -128)])
def test_softmax_on_another_scale(scale, zero_point):
    m, x = model()
    y = m.op("SOFTMAX", [x], m.map((6, 5, 4), scale=scale, zero_point=zero_point),
             "SoftmaxOptions", Beta=1.0)
    refused(m, [x], [y], "1/256 around -128")


def test_model_that_computes_nothing():
    m, x = model()
    refused(m, [x], [x], "computes nothing", error=ModelError)


def test_missing_tensor():
    m, x = model()
    y = convolution(m, x)
    m.operators[0][1][0] = 77
    refused(m, [x], [y], "does not have", error=ModelError)


def test_constant_of_another_size():
    m, x = model()
    w = m.weights((3, 2, 2, 4), 0)
    y = convolution(m, x, w)
    m.tensors[w].data = m.tensors[w].data[:2]
    refused(m, [x], [y], "bytes", error=ModelError)


def test_damaged_networks_of_every_operator():
    """Every outcome is a graph or one of our errors, whatever some random bytes do."""
    rng = np.random.default_rng(1)
    files = []
    for seed in range(8):
        m, xs, ys = random_model(seed)
        files.append(m.finish(xs, ys))
    refusals = 0
    for trial in range(400):
        damaged = bytearray(files[trial % len(files)])
        for at in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        refusals += read(bytes(damaged))
    assert 100 < refusals < 400


# -- files ---------------------------------------------------------------------------------------

def sound():
    m, x = model()
    z = convolution(m, x)
    y = m.map((3,))
    m.op("MEAN", [z, m.constant(np.array([1, 2], np.int32))], y, "ReducerOptions", KeepDims=False)
    return m.finish([x], [y])


def read(data):
    """Import damaged bytes: a graph, or an error of one line."""
    try:
        import_tflite(data, "net.tflite")
    except ModelError as error:
        assert "\n" not in str(error) and str(error).startswith("net.tflite: ")
        return True
    return False


def test_every_cut_of_a_file():
    data = sound()
    assert not read(data)
    assert all(read(data[:n]) for n in range(0, 100))
    for n in range(100, len(data), 7):
        read(data[:n])


def test_damaged_bytes():
    rng = np.random.default_rng(0)
    data = sound()
    for _ in range(600):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        read(bytes(damaged))


@pytest.mark.parametrize("data", [b"", b"TFL3", b"no flatbuffer at all", b"\0" * 100,
                                  b"\x08\0\0\0TFL3" + b"\xff" * 60])
def test_other_bytes(data):
    assert read(data)


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"no\.tflite: No such file"):
        load_model(tmp_path / "no.tflite")


def test_calibration_data_for_a_quantised_model(tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(sound())
    with pytest.raises(ModelError, match="calibration"):
        load_model(path, np.zeros((4, 6, 5, 4), np.float32))
