"""``train`` on bright patches and a small convolutional network."""

import json

import numpy as np
import onnx
import pytest

from tests.onnx_models import Model, reference
from tests.training_device import config
from tests.training_networks import patches


@pytest.fixture
def files(tmp_path):
    """A model with random weights and its samples."""
    model = Model((1, 6, 6))
    x = model.node("Relu", model.conv("x", 6, 1, (3, 3), pads=[1, 1, 1, 1]))
    x = model.node("Flatten", model.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    onnx.save(model.finish(model.gemm(x, 3, 54)), tmp_path / "model.onnx")
    samples(tmp_path / "data.npz")
    return tmp_path


def samples(path, **changes):
    (x, y), (vx, vy) = patches(192), patches(seed=1)
    arrays = {"x": np.moveaxis(x, -1, 1), "y": y, "validation_x": np.moveaxis(vx, -1, 1),
              "validation_y": vy} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def arguments(files, *more):
    return ("train", files / "model.onnx", "--data", files / "data.npz", "-o",
            files / "out.onnx", "--batch", "8", "--lr", "0.05", *more)


def test_it_learns_and_writes_the_model(systolith, files):
    run = systolith(*arguments(files, "--epochs", "6", "--json"))
    assert run.code == 0, run.err
    history = run.json["history"]
    assert len(history) == 6 and history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert run.json["cycles_per_image"] is None is run.json["utilization"]
    assert run.json["samples_per_second"] > 0 and run.json["stopped"] == "6 epochs"
    assert "Epoch   6" in run.err and "Stopped  6 epochs" in run.err
    x, y = patches(seed=1)
    (logits,) = reference(onnx.load(files / "out.onnx"), np.moveaxis(x, -1, 1).astype(np.float32))
    best = max(epoch["validation"] for epoch in history)
    assert best > 0.9 and abs((logits.argmax(axis=1) == y).mean() - best) <= 2 / 96


def test_on_the_machine(systolith, files):
    """A batch of 8 does not fit, half of it does."""
    target = files / "target.json"
    target.write_text(json.dumps(config(banks=3, bank_words=128).to_json()))
    on = ("--device", "machine:", "--target", target)
    run = systolith(*arguments(files, "--epochs", "3", *on, "--json"))
    assert run.code == 0, run.err
    history = run.json["history"]
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    # forward, data but of the image, weights: 6 outputs of 3 x 3 at 36 pixels, 54 of 3 classes
    macs = 2 * 36 * 54 + 3 * 3 * 54
    assert run.json["utilization"] == pytest.approx(macs / 32 / run.json["cycles_per_image"])
    assert 0.02 < run.json["utilization"] < 0.5
    as_asked = systolith(*arguments(files, "--epochs", "3", *on, "--micro-batch", "4", "--json"))
    assert as_asked.code == 0, as_asked.err
    assert as_asked.json["history"] == history
    refused = systolith(*arguments(files, "--epochs", "3", *on, "--micro-batch", "8"))
    assert refused.code == 4 and "micro-batches of at most" in refused.err


def test_a_checkpoint_goes_on(systolith, files):
    path = files / "run.npz"
    common = ("--schedule", "constant", "--checkpoint", path)
    assert systolith(*arguments(files, "--epochs", "2", *common)).code == 0
    resumed = systolith(*arguments(files, "--epochs", "4", *common, "--resume", path, "--json"))
    whole = systolith(*arguments(files, "--epochs", "4", *common, "--json"))
    assert resumed.json["history"] == whole.json["history"]


def test_frozen_and_fresh_weights(systolith, files):
    def weights():
        return [onnx.numpy_helper.to_array(tensor)
                for tensor in onnx.load(files / "out.onnx").graph.initializer]

    before = [onnx.numpy_helper.to_array(tensor)
              for tensor in onnx.load(files / "model.onnx").graph.initializer]
    assert systolith(*arguments(files, "--epochs", "1", "--freeze", "node_maxpool2")).code == 0
    steps = [np.abs(new - old).max() for new, old in zip(weights(), before, strict=True)]
    assert max(steps[:2]) < 1e-4 < min(steps[2:])
    assert systolith(*arguments(files, "--epochs", "1", "--lr", "1e-9", "--fresh")).code == 0
    assert np.abs(weights()[0] - before[0]).max() > 0.1


@pytest.mark.parametrize("more, code, message", [
    (("--freeze", "conv9"), 7, "there is no operation 'conv9'"),
    (("--lr", "0"), 7, "learning rate must be a positive number"),
    (("--device", "machine:"), 7, "say which one with --target"),
    (("--device", "machine:", "--target", "ulx3s-85f"), 6, "cannot train: use a target with"),
    (("--resume", "nowhere.npz"), 3, "no such checkpoint"),
    (("--batch", "1000"), 3, "do not fill a batch of 1000"),
])
def test_bad_calls(systolith, files, more, code, message):
    run = systolith(*arguments(files, "--epochs", "1", *more))
    assert run.code == code and message in run.err and run.err.count("\n") == 1
    assert not (files / "out.onnx").exists()


@pytest.mark.parametrize("changes, message", [
    ({"y": None}, "no array y"), ({"validation_y": None}, "no array validation_y"),
    ({"y": np.full(192, 5)}, "label 5 of sample 0 is outside 0..2"),
    ({"x": np.zeros((192, 1, 5, 6))}, "inputs are [1, 5, 6], the model reads [1, 6, 6]"),
])
def test_bad_data(systolith, files, changes, message):
    samples(files / "data.npz", **changes)
    run = systolith(*arguments(files))
    assert run.code == 3 and message in run.err


def test_damaged_data(systolith, files):
    (files / "data.npz").write_bytes(b"PK nothing")
    assert "not a whole .npz archive" in systolith(*arguments(files)).err
    np.save(files / "data.npy", np.zeros(3))
    (files / "data.npy").rename(files / "data.npz")
    assert "it has no array x and y" in systolith(*arguments(files)).err
