"""Commands that take a file: missing, empty, cut short, of another kind. Never a traceback."""

import os
from pathlib import Path

import numpy as np
import pytest

from systolith.boards.targets import TARGETS

EXAMPLES = Path(__file__).parents[2] / "examples"
LENET = EXAMPLES / "lenet/lenet_int8.onnx"
FLOAT = EXAMPLES / "lenet/lenet_float.onnx"
RESNET = EXAMPLES / "resnet8/resnet8_int8.tflite"
MODELS = sorted([*EXAMPLES.glob("*/*_int8.onnx"), *EXAMPLES.glob("*/*.tflite")])


def _array():
    return b"\x93NUMPY\x01\x00" + bytes(100)


#: What is wrong with a file -> its content by suffix; None: there is no such file.
BROKEN = {
    "missing": lambda suffix: None,
    "directory": lambda suffix: "directory",
    "empty": lambda suffix: b"",
    "text": lambda suffix: b"this is no model\n" * 50,
    "noise": lambda suffix: np.random.default_rng(1).bytes(3000),
    "zeros": lambda suffix: bytes(3000),
    "half": lambda suffix: (RESNET if suffix == ".tflite" else LENET).read_bytes()[:20_000],
    "other kind": lambda suffix: (LENET if suffix == ".tflite" else RESNET).read_bytes(),
    "array": lambda suffix: _array(),
}
#: Command -> suffix of the file, and what stands around its name.
COMMANDS = {
    "compile onnx": (".onnx", ["compile", "FILE", "-t", "ulx3s-85f", "-o", "out.sth"]),
    "compile tflite": (".tflite", ["compile", "FILE", "-t", "ulx3s-85f", "-o", "out.sth"]),
    "compile pb": (".pb", ["compile", "FILE", "-t", "ulx3s-85f", "-o", "out.sth"]),
    "explain onnx": (".onnx", ["explain", "FILE", "-t", "ulx3s-85f"]),
    "explain tflite": (".tflite", ["explain", "FILE", "-t", "ulx3s-85f", "--json"]),
    "calibrate": (".npy", ["compile", str(FLOAT), "--calibrate", "FILE", "-t", "ulx3s-85f", "-o",
                           "out.sth"]),
    "target": (".json", ["compile", str(LENET), "-t", "FILE", "-o", "out.sth"]),
    "run": (".sth", ["run", "FILE", "-d", "machine:", "-i", "x.npy", "-o", "y.npy"]),
    "train": (".onnx", ["train", "FILE", "--data", "data.npz", "-o", "out.onnx"]),
    "train data": (".npz", ["train", str(FLOAT), "--data", "FILE", "-o", "out.onnx"]),
    "resume": (".checkpoint", ["train", str(FLOAT), "--data", "data.npz", "-o", "out.onnx",
                               "--resume", "FILE"]),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_file(systolith, tmp_path, monkeypatch, command, broken):
    monkeypatch.chdir(tmp_path)
    suffix, arguments = COMMANDS[command]
    name, content = f"broken{suffix}", BROKEN[broken](suffix)
    np.save("x.npy", np.zeros((2, 1, 28, 28), np.float32))
    np.savez("data.npz", x=np.zeros((64, 1, 28, 28), np.float32), y=np.zeros(64, np.int64))
    if content == "directory":
        os.mkdir(name)
    elif content is not None:
        Path(name).write_bytes(content)
    before = sorted(os.listdir())
    run = systolith(*(name if word == "FILE" else word for word in arguments))
    assert 0 < run.code < 70
    assert run.err.startswith("systolith: ") and run.err.count("\n") == 1 and name in run.err
    assert not run.out and sorted(os.listdir()) == before


@pytest.mark.parametrize("arguments", [
    ["compile", LENET, "-t", "ulx3s-85f", "-o", "nowhere/out.sth"],
    ["compile", LENET, "-t", "ulx3s-85f", "-o", "."],
    ["compile", LENET, "-t", "zx81", "-o", "out.sth"],
    ["explain", LENET, "-t", "zx81"],
    ["bench", "--network", "lenet9"],
    ["bench", "--target", "zx81"]])
def test_other_words_that_mean_nothing(systolith, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    run = systolith(*arguments)
    assert 0 < run.code < 70
    assert run.err.startswith("systolith: ") and run.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_explain_of_every_example(systolith, model):
    """It tells what a model costs, or what blocks it and what unblocks that."""
    for name, target in TARGETS.items():
        if name not in ("ulx3s-85f", "icebreaker"):
            continue        # the others are arrays of one of these kinds
        run = systolith("explain", model, "-t", name)
        assert run.code in (0, 4) and not run.err.count("systolith:")
        if run.code:
            assert f"Does not run on {target.config.describe()}" in run.out
            assert "To unblock: " in run.out
        else:
            assert "cycles an image" in run.out and "Longest" in run.out
