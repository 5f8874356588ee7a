"""Readers of the data sets: the network's input from the file's numbers, and the right halves."""

import numpy as np
import pytest

from systolith.examples import datasets
from systolith.examples.zoo import ZOO

RNG = np.random.default_rng(4)


def pixels(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def labels(count):
    return np.arange(count, dtype=np.uint8)


TEST = np.array([False, True, False, True, False])
#: The arrays of each file.
FILES = {
    "mnist": {"train_images": pixels(3, 28, 28), "train_labels": labels(3),
              "test_images": pixels(2, 28, 28), "test_labels": labels(2)},
    "orl_faces": {"images_64x64": pixels(5, 64, 64), "labels": labels(5), "is_test": TEST},
    "facial_keypoints": {
        "train_images": pixels(3, 96, 96), "train_keypoints": np.ones((3, 68, 2), np.float32),
        "test_images": pixels(2, 96, 96), "test_keypoints": np.zeros((2, 68, 2), np.float32)},
    "sign_digits": {"train_images": pixels(3, 64, 64), "train_labels": labels(3),
                    "test_images": pixels(2, 64, 64), "test_labels": labels(2)},
    "spoken_digits": {"logmel_u8": pixels(5, 64, 32), "labels": labels(5), "is_test": TEST},
    "mnist1d": {"train_x": RNG.normal(size=(3, 40)).astype(np.float32), "train_y": labels(3),
                "test_x": RNG.normal(size=(2, 40)).astype(np.float32), "test_y": labels(2)},
    "cifar10_test": {"images": pixels(2, 32, 32, 3), "labels": labels(2)},
    "keyword_mfccs": {"ref_model_input": pixels(2, 49, 10, 1).view(np.int8),
                      "labels": labels(2)},
}


@pytest.fixture
def read(tmp_path):
    def reader(name):
        np.savez(tmp_path / "data.npz", **FILES[name])
        return getattr(datasets, name)(tmp_path / "data.npz")
    return reader


def test_every_entry_with_data_has_a_reader_here():
    assert {entry.read.__name__ for entry in ZOO.values() if entry.read} == set(FILES)
    assert all((entry.data is None) == (entry.read is None) == (entry.metric is None)
               for entry in ZOO.values())


@pytest.mark.parametrize("name", FILES)
def test_halves_match(read, name):
    data = read(name)
    assert len(data.train_x) == len(data.train_y) == (0 if name in (
        "cifar10_test", "keyword_mfccs") else 3)
    assert len(data.test_x) == len(data.test_y) == 2


@pytest.mark.parametrize("name,key", [
    ("mnist", "test_images"), ("facial_keypoints", "test_images"), ("sign_digits", "test_images")])
def test_pixels_are_shares_of_white(read, name, key):
    x = read(name).test_x
    assert x.dtype == np.float32 and x.shape[1] == 1
    np.testing.assert_array_equal(np.rint(x[:, 0] * 255).astype(np.uint8), FILES[name][key])


@pytest.mark.parametrize("name", ["orl_faces", "spoken_digits"])
def test_official_split(read, name):
    data = read(name)
    assert data.test_y.tolist() == [1, 3] and data.train_y.tolist() == [0, 2, 4]


def test_mel_bands_are_channels(read):
    x = read("spoken_digits").test_x
    assert x.shape == (2, 32, 64)
    assert x[0, 7, 11] == np.float32(FILES["spoken_digits"]["logmel_u8"][1, 11, 7] / 255)


def test_samples_of_a_signal_are_raw(read):
    data = read("mnist1d")
    assert data.test_x.shape == (2, 1, 40)
    np.testing.assert_array_equal(data.test_x[:, 0], FILES["mnist1d"]["test_x"])


def test_colours_are_signed(read):
    x = read("cifar10_test").test_x
    assert x.dtype == np.int8
    np.testing.assert_array_equal(x.astype(int) + 128, FILES["cifar10_test"]["images"])
