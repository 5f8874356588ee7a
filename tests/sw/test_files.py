import pytest

from systolith.sw.files import replacing, write_text


def test_an_output_appears_whole(tmp_path):
    path = tmp_path / "out.txt"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.txt"]


def test_an_error_leaves_nothing_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="half way"), replacing(path) as temporary:
        temporary.write_text("ne")
        raise ValueError("half way")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.txt"]


def test_an_output_is_readable_as_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "out.txt", "")
    assert (tmp_path / "out.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(NotADirectoryError, match="folder of the output file does not exist"):
        write_text(tmp_path / "no" / "out.txt", "")
