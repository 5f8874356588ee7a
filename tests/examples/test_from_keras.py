"""The Keras example: its files always, the script itself where TensorFlow is installed."""

import numpy as np
import pytest

from systolith.examples.from_keras import convert
from systolith.examples.stripes import CLASSES, stripes


@pytest.mark.parametrize("ends", convert.FILES)
def test_files(ends):
    accuracy, equal = convert.run(convert.FILES[ends])
    assert equal and accuracy > 0.9


def test_stripes():
    x, labels = stripes(100, seed=3)
    assert (x.shape, x.dtype, x.min(), x.max()) == ((100, 16, 16), np.float32, -1, 1)
    assert set(labels) == set(range(len(CLASSES)))
    across, down = (x[labels == i] for i in (0, 1))
    assert across.mean(axis=2).std() > 2 * across.mean(axis=1).std()
    assert down.mean(axis=1).std() > 2 * down.mean(axis=2).std()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_from_keras(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow", reason="only this example needs it: pip install tensorflow")
    monkeypatch.setattr(convert, "FILES", {
        ends: tmp_path / path.name for ends, path in convert.FILES.items()})
    convert.main()
    assert capsys.readouterr().out.count("equal") == 2
