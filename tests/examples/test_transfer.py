"""The last layer of the zoo's LeNet learns again, from the digits that are shipped."""

import numpy as np
import pytest

from systolith.examples import transfer
from systolith.examples.zoo import ZOO


@pytest.fixture
def folder(tmp_path):
    with np.load(ZOO["lenet"].path.with_name("digits.npz")) as file:
        images, labels = file["images"], file["labels"]
    np.savez(tmp_path / "mnist.npz", train_images=images[:300], train_labels=labels[:300],
             test_images=images[300:500], test_labels=labels[300:500])
    return tmp_path


def test_five_digits_of_each_kind_are_enough(folder, capsys):
    found = transfer.transfer("lenet", folder, shots=5, epochs=15, rate=0.01, seed=1)
    assert found["untrained"] < 0.4 and found["fixed point"] > 0.95
    assert abs(found["fixed point"] - found["float32"]) <= 0.02
    assert transfer.main(["lenet", "--data", str(folder), "--epochs", "1"]) == 0
    assert "fixed point" in capsys.readouterr().out


def test_few_takes_the_first_of_each_class():
    assert transfer.few(np.array([1, 0, 1, 1, 0]), 2).tolist() == [1, 4, 0, 2]


def test_networks_that_cannot_learn_are_named(folder, capsys):
    assert transfer.main(["dscnn", "--data", str(folder)]) == 3
    assert transfer.main(["nothing", "--data", str(folder)]) == 3
    assert "no network 'nothing'" in capsys.readouterr().err
