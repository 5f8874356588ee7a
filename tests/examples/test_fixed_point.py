"""The experiments on a few stripes instead of digits, and tones instead of speech."""

import numpy as np
import pytest

from systolith.examples import fixed_point


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(2)
    labels = random.integers(0, 10, 240).astype(np.uint8)
    images = random.integers(0, 60, (240, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label:5 + 2 * label] += 150
    path = tmp_path / "mnist.npz"
    np.savez(path, train_images=images[:200], train_labels=labels[:200], test_images=images[200:],
             test_labels=labels[200:])
    return str(path)


def test_lenet_has_its_size():
    parameters = fixed_point.lenet(1).parameters
    assert sum(values.size for values in parameters.values()) == 44_426


@pytest.mark.parametrize("kind", [[], ["--micro-batch", "3"], ["--real"]])
def test_it_trains(data, kind, capsys):
    accuracy = fixed_point.main(["lenet", "--data", data, "--epochs", "6", "--batch", "8", *kind])
    assert accuracy > 0.9
    assert "epoch 6: loss" in capsys.readouterr().out


def test_it_hears(tmp_path):
    random = np.random.default_rng(2)
    labels = random.integers(0, 10, 240).astype(np.uint8)
    tones = random.integers(0, 60, (240, 64, 32)).astype(np.uint8)
    for tone, label in zip(tones, labels, strict=True):
        tone[:, 3 * label:3 * label + 3] += 150
    path = tmp_path / "digits.npz"
    np.savez(path, logmel_u8=tones, labels=labels, is_test=np.arange(240) >= 200)
    assert fixed_point.main(["spoken_digits", "--data", str(path), "--epochs", "4", "--batch",
                             "8"]) > 0.9
