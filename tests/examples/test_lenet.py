"""The shipped demo network and digits are what their README says."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from systolith.sim.reference import open_session

LENET = Path(__file__).parents[2] / "examples" / "lenet"


@pytest.fixture(scope="module")
def digits():
    with np.load(LENET / "digits.npz") as data:
        return data["images"], data["labels"]


@pytest.fixture(scope="module")
def model():
    return onnx.load(LENET / "lenet_int8.onnx")


def correct(path, images, labels):
    session = open_session(path)
    logits, = session.run(None, {"image": images[:, None].astype(np.float32) / 255})
    return (logits.argmax(1) == labels).mean()


def test_digits_are_a_thousand_real_ones(digits):
    images, labels = digits
    assert images.shape == (1000, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (1000,) and labels.dtype == np.uint8
    # The official test set begins 7, 2, 1, 0, 4; each digit is a tenth, give or take.
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels, minlength=10).min() > 80


@pytest.mark.parametrize("name, floor", [("lenet_float.onnx", 0.994), ("lenet_int8.onnx", 0.992)])
def test_accuracy(digits, name, floor):
    assert correct(LENET / name, *digits) >= floor


def test_a_wrong_label_would_be_noticed(digits):
    images, labels = digits
    assert correct(LENET / "lenet_int8.onnx", images, (labels + 1) % 10) < 0.05


def test_file_is_small_and_names_no_machine():
    for path in LENET.glob("*.onnx"):
        content = path.read_bytes()
        assert len(content) < 300_000
        assert b"/home/" not in content and b"site-packages" not in content


def test_batch_is_symbolic(model):
    n, *rest = model.graph.input[0].type.tensor_type.shape.dim
    assert n.dim_param == "n"
    assert [d.dim_value for d in rest] == [1, 28, 28]


def test_quantisation_is_int8_with_symmetric_channel_weights(model):
    values = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for layer, channels in (("conv1", 6), ("conv2", 16), ("fc1", 120), ("fc2", 84), ("fc3", 10)):
        assert values[f"{layer}.weight_quantized"].dtype == np.int8
        assert values[f"{layer}.weight_scale"].shape == (channels,)
        assert not values[f"{layer}.weight_zero_point"].any()
        assert values[f"{layer}.bias_quantized"].dtype == np.int32
    activations = [name for name in values if name.endswith("_zero_point")
                   and "weight" not in name and "bias" not in name]
    assert len(activations) == 6
    assert all(values[name].dtype == np.int8 for name in activations)
    # A pixel p becomes p - 128 exactly.
    assert values["image_zero_point"] == -128
    assert values["image_scale"] == np.float32(1 / 255)
