import numpy as np
import pytest

from systolith.cli.arrays import read_array, write_array
from systolith.sw.errors import DataError


def test_round_trip(tmp_path):
    array = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    write_array(tmp_path / "a.npy", array)
    back = read_array(tmp_path / "a.npy")
    assert back.dtype == np.int8 and np.array_equal(back, array)


def test_the_name_is_kept_as_given(tmp_path):
    write_array(tmp_path / "answers", np.zeros(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["answers"]


@pytest.mark.parametrize("content,message", [
    (b"", "not a whole .npy file"),
    (b"\x93NUMPY", "not a whole .npy file"),
    (b"PK\x03\x04 no archive", "not a whole .npy file"),
    (b"hello world, this is not an array", "not a whole .npy file"),
])
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_array(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_truncated_file(tmp_path):
    path = tmp_path / "x.npy"
    write_array(path, np.zeros((10, 10)))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="not a whole .npy file"):
        read_array(path)


def test_objects_are_not_unpickled(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([{}], dtype=object))
    with pytest.raises(DataError, match="not a whole .npy file of numbers"):
        read_array(path)


def test_an_archive_and_an_empty_array(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="an .npz archive"):
        read_array(tmp_path / "x.npz")
    write_array(tmp_path / "x.npy", np.zeros((0, 3)))
    with pytest.raises(DataError, match=r"no images in it, its shape is \(0, 3\)"):
        read_array(tmp_path / "x.npy")
