"""The program container: what is saved comes back, and nothing damaged gets through."""

import dataclasses
import errno
import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from systolith.hw.isa import ISA_VERSION
from systolith.sw.errors import ProgramError
from systolith.sw.ir import HostStep
from systolith.sw.program import Program
from tests.compiled import CONFIGS, random_case

PREFIX = struct.Struct("<4sHI")
DIGEST = hashlib.sha256().digest_size


def compiled(seed=1, **options):
    return random_case(np.random.default_rng(seed), CONFIGS["tall"], images=1,
                       **{"layers": 3, "size": 6, "channels": 6} | options).program


@pytest.fixture(scope="module")
def program():
    return compiled()


@pytest.fixture(scope="module")
def image(program):
    return program.to_bytes()


def assert_same(a, b):
    for field in dataclasses.fields(Program):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if field.name == "words":
            np.testing.assert_array_equal(mine, other)
        elif field.name == "segments":
            for (address, elements), (place, copy) in zip(mine, other, strict=True):
                assert (address, elements.dtype) == (place, copy.dtype)
                np.testing.assert_array_equal(elements, copy)
        else:
            assert mine == other, field.name


@pytest.mark.parametrize("seed", range(6))
def test_round_trip(tmp_path, seed):
    original = compiled(seed, all_outputs=bool(seed % 2))
    original.save(tmp_path / "net.bin")
    loaded = Program.load(tmp_path / "net.bin")
    assert_same(original, loaded)
    assert loaded.to_bytes() == original.to_bytes()


def test_round_trip_of_host_steps(program):
    """Ports with all they can carry."""
    port = dataclasses.replace(
        program.inputs[0].port, dtype="uint8", offset=-128,
        steps=(HostStep(kind="quantize", attributes={"scale": 0.5, "zero_point": 3}),
               HostStep(kind="softmax", attributes={"axis": -1})))
    buffer = dataclasses.replace(program.inputs[0], port=port, delta=64)
    original = dataclasses.replace(program, inputs=[buffer], name="größer")
    assert_same(original, Program.from_bytes(original.to_bytes()))


def test_wide_elements(program):
    original = dataclasses.replace(
        program, segments=[(8, np.arange(-5, 6, dtype=np.int16)), (64, np.array([], np.int16))])
    assert_same(original, Program.from_bytes(original.to_bytes()))


def test_same_program_same_bytes(image):
    assert compiled().to_bytes() == image


def test_loaded_program_is_read_only(image):
    """Its arrays are views of the file's content: a slip cannot change a loaded program."""
    with pytest.raises(ValueError, match="read-only"):
        Program.from_bytes(image).words[0] = 0


# -- what is not a program ----------------------------------------------------------------------

def reject(image, message):
    with pytest.raises(ProgramError, match=message) as raised:
        Program.from_bytes(image, "net.bin")
    assert str(raised.value).startswith("net.bin")
    assert "\n" not in str(raised.value)


def test_truncated_anywhere(image):
    rng = np.random.default_rng(2)
    lengths = [*range(100), *rng.integers(100, len(image), 100), *(len(image) - n for n in (1, 32))]
    for length in lengths:
        reject(image[:length], "is no compiled program" if length < PREFIX.size else "is damaged")


def test_something_appended(image):
    reject(image + b"\0", "is damaged")


def test_one_flipped_bit_anywhere(image):
    """The checksum, the digest and the prefix before it: every byte matters."""
    rng = np.random.default_rng(3)
    places = {*range(64), *rng.integers(0, len(image), 400).tolist(),
              *range(len(image) - DIGEST, len(image))}
    for place in places:
        flipped = bytearray(image)
        flipped[place] ^= 1 << int(rng.integers(8))
        reject(bytes(flipped), "is no compiled program" if place < 4 else
               "has format" if place < 6 else "is damaged")


@pytest.mark.parametrize("content", [b"", b"STH", b"STHQ" + bytes(200), b"\x89PNG\r\n\x1a\n",
                                     b"STHP"], ids=["empty", "short", "magic", "png", "only magic"])
def test_something_else(content):
    reject(content, "is no compiled program; make one with 'systolith compile'")


def test_other_format(image):
    newer = image[:4] + struct.pack("<H", 3) + image[6:]
    reject(newer, "has format 3, this version reads 1 and 2; compile the model again")


def resealed(image, change):
    """Return an undamaged program whose header was changed."""
    _, version, length = PREFIX.unpack_from(image)
    header = json.loads(image[PREFIX.size:PREFIX.size + length])
    change(header)
    text = json.dumps(header).encode()
    body = PREFIX.pack(b"STHP", version, len(text)) + text + image[PREFIX.size + length:-DIGEST]
    return body + hashlib.sha256(body).digest()


def test_other_instruction_set(image):
    other = resealed(image, lambda header: header.update(isa=ISA_VERSION + 1))
    reject(other, f"is for instruction set {ISA_VERSION + 1}, this version speaks {ISA_VERSION}")


@pytest.mark.parametrize("change", [{"rows": 77}, {"rows": "4"}, {"cores": 2}],
                         ids=["impossible", "type", "unknown"])
def test_unknown_configuration(image, change):
    other = resealed(image, lambda header: header["config"].update(change))
    reject(other, "is for a configuration this version does not know .*; compile the model again")


def test_resealed_program_is_otherwise_fine(image, program):
    assert_same(program, Program.from_bytes(resealed(image, lambda header: None)))


# -- files --------------------------------------------------------------------------------------

def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Program.load(tmp_path / "net.bin")


def test_error_names_the_file(tmp_path):
    (tmp_path / "net.bin").write_bytes(b"nothing")
    with pytest.raises(ProgramError, match=f"^{tmp_path / 'net.bin'} is no compiled program"):
        Program.load(str(tmp_path / "net.bin"))


class FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def write(self, data):
        self.file.write(data[:self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk(monkeypatch):
    opened = Path.open

    def open_full(path, mode="r", *rest, **named):
        file = opened(path, mode, *rest, **named)
        return file if mode.startswith("r") else FullDisk(file, 100)

    monkeypatch.setattr(Path, "open", open_full)


def no_replace(monkeypatch):
    def fail(source, target):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)

    monkeypatch.setattr(os, "replace", fail)


def interrupt(monkeypatch):
    def fail(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)


@pytest.mark.parametrize("trouble, error", [
    (full_disk, OSError), (no_replace, PermissionError), (interrupt, KeyboardInterrupt)])
@pytest.mark.parametrize("before", [None, b"the program before"], ids=["new", "over another"])
def test_failed_save_leaves_nothing_behind(tmp_path, monkeypatch, program, trouble, error, before):
    path = tmp_path / "net.bin"
    if before:
        path.write_bytes(before)
    trouble(monkeypatch)
    with pytest.raises(error):
        program.save(path)
    assert os.listdir(tmp_path) == (["net.bin"] if before else [])
    if before:
        assert path.read_bytes() == before


def test_save_replaces(tmp_path, program, image):
    path = tmp_path / "net.bin"
    path.write_bytes(b"the program before")
    program.save(path)
    assert path.read_bytes() == image
    assert os.listdir(tmp_path) == ["net.bin"]
