"""The LeNet experiment on a few stripes instead of digits."""

import numpy as np
import pytest

from systolith.examples import fixed_point


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(2)
    labels = random.integers(0, 10, 400).astype(np.uint8)
    images = random.integers(0, 60, (400, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label:5 + 2 * label] += 150
    path = tmp_path / "mnist.npz"
    np.savez(path, train_images=images[:320], train_labels=labels[:320], test_images=images[320:],
             test_labels=labels[320:])
    return str(path)


def test_lenet_has_its_size():
    parameters = fixed_point.lenet(1).parameters
    assert sum(values.size for values in parameters.values()) == 44_426


@pytest.mark.parametrize("kind", [[], ["--micro-batch", "3"], ["--real"]])
def test_it_trains(data, kind, capsys):
    accuracy = fixed_point.main(["--data", data, "--epochs", "6", "--batch", "8", *kind])
    assert accuracy > 0.9
    assert "epoch 6: loss" in capsys.readouterr().out
