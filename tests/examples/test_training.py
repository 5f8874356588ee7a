"""From PyTorch to the accelerator: train, export, quantise, compile; where PyTorch is installed."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import onnx
import pytest

from systolith.boards.targets import find_config
from systolith.examples import zoo
from systolith.examples.reference import reference_outputs
from systolith.sim.batch import run_batch
from systolith.sw.compiler import compile_graph
from systolith.sw.importer.load import load_model

torch = pytest.importorskip("torch", reason="PyTorch is optional: pip install --group train")
training = pytest.importorskip("systolith.examples.training", reason="onnxscript is missing")

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "_FOLDER", tmp_path)
    (tmp_path / "stripes").mkdir()
    return replace(zoo.ZOO["faces"], name="stripes")


def stripes(count, seed):
    """Return pictures float32[n, 1, 16, 16] with stripes across (0) or down (1), and which."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count).astype(np.uint8)
    waves = np.sin(np.arange(16) * 1.6 + rng.uniform(0, 6, (count, 1))) / 2 + 0.5
    x = np.where(y[:, None, None] == 1, waves[:, None], waves[:, :, None])
    return x[:, None].astype(np.float32), y


def test_a_network_learns_and_runs(entry, capsys):
    training.repeatable(0)
    model = torch.nn.Sequential(OrderedDict(
        **training.conv_block(1, 1, 8, pool=True), **training.conv_block(2, 8, 16, stride=2),
        average=torch.nn.AdaptiveAvgPool2d(1), flatten=torch.nn.Flatten(),
        fc=torch.nn.Linear(16, 2)))
    x, y = stripes(512, 1)
    training.fit(model, x, y, epochs=6, augment=lambda batch, wanted: (batch, wanted))
    test = stripes(64, 2)
    training.finish(model, entry, x[:100], test)
    printed = capsys.readouterr().out
    assert "stripes_int8.onnx" in printed and "accuracy 100.00% on 64 test samples" in printed
    graph = load_model(entry.path)
    assert [op.name for op in graph.ops if op.kind in ("Conv", "Gemm")] == ["conv1", "conv2", "fc"]
    found, = run_batch(compile_graph(graph, find_config("ulx3s-85f")), test[0])
    assert zoo.accuracy(found, test[1]) == 1
    steps = np.abs(found - reference_outputs(entry.path, test[0])) / graph.tensors[
        graph.outputs[0].tensor].scale
    assert steps.max() <= 1.01


def test_one_dimensional_export(entry):
    training.repeatable(0)
    model = torch.nn.Sequential(OrderedDict(
        **training.conv_block(1, 4, 8, 5, pool=True, dimensions=1),
        average=torch.nn.AdaptiveAvgPool1d(1), flatten=torch.nn.Flatten(),
        fc=torch.nn.Linear(8, 3)))
    x = np.random.default_rng(1).random((50, 4, 20), np.float32)
    training.finish(model, entry, x, names=("sound", "word"))
    proto = onnx.load(entry.path)
    assert (proto.graph.input[0].name, proto.graph.output[0].name) == ("sound", "word")
    assert not any(node.metadata_props for node in proto.graph.node)
    found, = run_batch(compile_graph(load_model(entry.path), find_config("icebreaker")), x)
    np.testing.assert_allclose(found, reference_outputs(entry.float_path, x), atol=0.05)


def test_moved_points_stay_on_the_picture():
    """A bright pixel is where the matrix of ``move`` says."""
    torch.manual_seed(3)
    x = torch.zeros(20, 1, 32, 32)
    x[:, 0, 10, 20] = 1
    moved, theta = training.move(x, degrees=20, scale=0.1, shift=0.1)
    there = torch.tensor([20.5, 10.5]) / 16 - 1
    back = (there - theta[:, :, 2])[:, None] @ torch.linalg.inv(theta[:, :, :2]).transpose(1, 2)
    wanted = ((back[:, 0] + 1) * 16 - 0.5).numpy()
    peak = moved.flatten(1).argmax(1).numpy()
    assert np.abs(np.stack([peak % 32, peak // 32], 1) - wanted).max() < 1


def test_light_keeps_pictures_in_range():
    torch.manual_seed(3)
    x = torch.rand(20, 1, 8, 8)
    lit = training.light(x)
    assert 0 <= lit.min() and lit.max() <= 1
    assert (lit - x).abs().mean() > 0.05
