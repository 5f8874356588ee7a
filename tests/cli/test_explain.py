"""``systolith explain``: exit codes, the table, JSON alone on stdout, and the page's example."""

import re
from pathlib import Path

import onnx
import pytest

from systolith.cli.demo import LENET
from systolith.examples.zoo import ZOO
from tests.onnx_models import Model, quantized

MODEL = LENET / "lenet_int8.onnx"
PAGE = Path(__file__).parents[2] / "docs" / "explain.md"
#: Columns of the terminal that the page shows.
WIDTH = 120


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def blocked(tmp_path):
    m = Model((3, 12, 12))
    x = m.node("Softplus", m.conv(m.node("Elu", m.conv("x", 8, 3, (3, 3))), 8, 8, (3, 3)))
    onnx.save(quantized(m.finish(x), m.data()), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_model_that_runs(systolith, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")        # no line is broken
    run = systolith("explain", MODEL, "-t", "ulx3s-85f")
    assert run.code == 0 and "Runs     on ulx3s-85f" in run.out
    for word in ("conv1", "post-processor", "free", "host", "maximum of the results of 'conv1'"):
        assert word in run.out


def test_json_stands_alone(systolith):
    run = systolith("explain", MODEL, "-t", "ulx3s-85f", "--json")
    assert run.code == 0 and run.json["runs"] and "conv1" in run.err
    conv1 = next(row for row in run.json["operators"] if row["name"] == "conv1")
    assert conv1["place"] == "array" and conv1["cycles"] > 0 < conv1["constant_bytes"]


def test_nodes_in_the_way(systolith, tmp_path):
    path = blocked(tmp_path)
    run = systolith("explain", path, "-t", "ulx3s-85f")
    assert run.code == 2 and "Does not run on ulx3s-85f" in run.out
    assert "(Elu)" in run.out and "(Softplus)" in run.out and "not judged" in run.out
    run = systolith("explain", path, "-t", "ulx3s-85f", "--json")
    assert run.code == 2 and not run.json["runs"]
    assert [problem["operator"] for problem in run.json["problems"]] == ["Elu", "Softplus"]


def test_what_does_not_fit_names_a_target_that_does(systolith):
    model = ZOO["resnet8"].path
    run = systolith("explain", model, "-t", "icebreaker", "--json")
    assert run.code == 4 and run.json["fitting_targets"] == ["ulx3s-85f"]
    assert {problem["operator"] for problem in run.json["problems"]} == {"ADD"}
    assert "It runs on ulx3s-85f" in run.err


def test_a_compiled_program(systolith, tmp_path):
    path = tmp_path / "l.sth"
    compiled = systolith("compile", MODEL, "-t", "ulx3s-85f", "-o", path, "--json").json
    found = systolith("explain", path, "--json").json
    assert found["cycles"] == compiled["cycles"] and found["runs"]
    assert [row["name"] for row in found["operators"]] == [
        layer["name"] for layer in compiled["layers"]]
    run = systolith("explain", path, "-t", "ulx3s-85f")
    assert run.code == 2 and "leave --target" in run.err


def test_wrong_calls(systolith, tmp_path):
    run = systolith("explain", MODEL)
    assert run.code == 2 and "which target" in run.err and run.err.count("\n") == 1
    run = systolith("explain", tmp_path / "no.onnx", "-t", "ulx3s-85f")
    assert run.code == 2 and "no.onnx" in run.err and run.err.count("\n") == 1


def test_the_page_shows_what_is_printed(systolith, monkeypatch):
    monkeypatch.chdir(LENET.parents[1])
    blocks = re.findall(r"    \$ systolith (explain .*)\n\n((?:    .*\n|\n)+)", PAGE.read_text())
    assert len(blocks) == 2
    for command, shown in blocks:
        printed = systolith(*command.split()).out.splitlines()
        lines = [line.rstrip() for line in printed if line.strip()]
        assert [line[4:].rstrip() for line in shown.splitlines() if line.strip()] == lines
