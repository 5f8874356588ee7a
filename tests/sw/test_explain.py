"""What `explain` says of models: against the compiled program, and of what cannot run."""

import numpy as np
import onnx
import pytest

from systolith.boards.targets import find_config
from systolith.examples.zoo import ZOO
from systolith.hw.config import Config
from systolith.sw.errors import DataError, ModelError
from systolith.sw.explain import explain, explain_program
from systolith.sw.importer.load import load_model
from systolith.sw.partition import compile_network
from systolith.sw.placement import Place
from tests.onnx_models import Model, quantized

BOARD = find_config("ulx3s-85f")


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a model and returns its path."""
    def save(proto):
        onnx.save(proto, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"
    return save


def places(found):
    return {row.name: row.place for row in found.operators}


@pytest.mark.parametrize("name", ["lenet", "dscnn", "resnet8", "faces"])
def test_costs_are_those_of_the_program(name):
    path = ZOO[name].path
    found = explain(path, BOARD)
    program = compile_network(load_model(path), BOARD)
    assert found.runs and found.cycles == program.predicted_cycles and found.segments == 1
    leading = [row for row in found.operators if row.cycles is not None]
    assert {(row.name, row.macs, row.cycles) for row in leading} == {
        (layer.name, layer.macs, layer.cycles) for layer in program.layers}
    assert sum(row.share for row in leading) == pytest.approx(1)
    memory, = found.memory
    assert memory.constant_bytes == program.constant_elements
    assert sum(row.constant_bytes for row in leading) == memory.constant_bytes
    assert max(row.map_bytes for row in leading) == memory.map_bytes <= program.map_elements
    assert explain_program(program, "p.sth").cycles == found.cycles


def test_every_node_has_a_row_and_a_place(saved):
    m = Model((8, 12, 12))
    x = m.node("Relu", m.conv("x", 8, 8, (3, 3)))
    x = m.node("Relu", m.conv(x, 8, 1, (3, 3), group=8))
    x = m.node("MaxPool", m.conv(x, 8, 8, (1, 1)), kernel_shape=[2, 2], strides=[2, 2])
    y = m.node("Add", x, m.conv(x, 8, 8, (3, 3), pads=[1] * 4))
    y = m.node("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = m.node("Softmax", m.gemm(m.node("Flatten", y), 5, 32))
    proto = quantized(m.finish(y), m.data(), prepare=False)
    found = explain(saved(proto), BOARD)
    assert {row.name for row in found.operators} >= {
        node.name or node.output[0] for node in proto.graph.node}
    of = {row.operator: row.place for row in found.operators if row.operator != "Conv"}
    assert of["MaxPool"] == of["Add"] == Place.POST
    assert of["AveragePool"] == of["Gemm"] == Place.ARRAY
    assert of["Flatten"] == Place.FREE and of["Softmax"] == Place.HOST
    convolutions = [row for row in found.operators if row.operator == "Conv"]
    assert [row.place for row in convolutions].count(Place.DEPTHWISE) == 1
    relu = [row for row in found.operators if row.operator == "Relu"]
    assert all(row.place == Place.FUSED and row.step in places(found) for row in relu)
    assert all(row.why for row in found.operators)


@pytest.mark.parametrize("config, word", [(Config(window=True), "window unit:"),
                                          (Config(), "no window unit")])
def test_depthwise_says_why(saved, config, word):
    m = Model((8, 12, 12))
    found = explain(saved(m.finish(m.conv("x", 8, 1, (3, 3), group=8))), config)
    row, = [row for row in found.operators if row.operator == "Conv"]
    assert row.place == Place.DEPTHWISE and word in row.why


def test_a_model_in_segments(saved):
    m = Model((4, 6, 6))
    x = m.conv("x", 8, 4, (3, 3))
    x = m.conv(m.node("Mul", x, m.node("Sigmoid", x)), 4, 8, (1, 1))
    found = explain(saved(m.finish(x)), BOARD)
    assert found.runs and found.segments == len(found.memory) == 2
    hosted = [row for row in found.operators if row.place == Place.HOST]
    assert {"Mul", "sigmoid"} <= {row.operator for row in hosted}
    assert all(row.cycles is None for row in hosted)


def test_all_blocking_nodes_are_named(saved):
    m = Model((3, 12, 12))
    x = m.conv(m.node("Elu", m.conv("x", 8, 3, (3, 3))), 8, 8, (3, 3))
    y = m.node("Resize", m.conv("x", 8, 3, (1, 1)), "", m.constant([1, 1, 2, 2]), mode="linear")
    found = explain(saved(quantized(m.finish(m.node("Softplus", x), y), m.data())), BOARD)
    assert not found.runs and found.exit_code == 2
    assert {problem.operator for problem in found.problems} == {"Elu", "Softplus", "Resize"}
    assert all(problem.reason and problem.advice for problem in found.problems)
    of = {row.operator: row.place for row in found.operators}
    assert of["Elu"] == of["Softplus"] == of["Resize"] == Place.BLOCKED
    assert [row.place for row in found.operators if row.operator == "Conv"].count(
        Place.MAPPABLE) == 2
    assert Place.UNKNOWN in of.values()


def test_what_does_not_fit(saved):
    m = Model((16, 30, 30))
    x = m.conv(m.conv("x", 32, 16, (3, 3)), 64, 32, (3, 3))
    small = Config(banks=2, bank_words=512)
    found = explain(saved(m.finish(x)), small)
    assert found.exit_code == 4 and not found.problems and found.cycles is None
    memory, = found.memory
    assert memory.constant_bytes + memory.map_bytes > memory.available_bytes == small.memory_bytes
    assert memory.worst_step in found.shortages[0]
    assert f"{memory.map_bytes:,} bytes of feature maps" in found.shortages[0]
    assert memory.largest_constants == "node_conv1"


def test_a_target_without_a_unit(saved):
    m = Model((4, 8, 8))
    x = m.conv("x", 4, 4, (1, 1))
    y = m.node("Add", x, m.conv(x, 4, 4, (1, 1)))
    y = m.node("Add", y, m.conv(y, 4, 4, (1, 1)))
    found = explain(saved(m.finish(y)), Config(residual=False))
    assert found.exit_code == 4
    assert [problem.operator for problem in found.problems] == ["Add", "Add"]
    assert "residual = true" in found.problems[0].advice
    of = {row.operator: row.place for row in found.operators}
    assert of["Add"] == Place.BLOCKED and of["Conv"] == Place.ARRAY
    assert all(row.constant_bytes for row in found.operators if row.operator == "Conv")


def test_noise_costs_what_calibration_data_cost(saved):
    m = Model((3, 8, 8))
    x = m.node("Relu", m.conv("x", 8, 3, (3, 3)))
    path = saved(m.finish(m.gemm(m.node("Flatten", m.node("GlobalAveragePool", x)), 5, 8)))
    guessed, given = explain(path, BOARD), explain(path, BOARD, m.data(20))
    assert guessed.notes and not given.notes
    assert guessed.operators == given.operators and guessed.cycles == given.cycles


def test_unusable_files_and_data(saved, tmp_path):
    m = Model((3, 8, 8))
    path = saved(m.finish(m.conv("x", 8, 3, (3, 3))))
    with pytest.raises(DataError, match="NaN"):
        explain(path, BOARD, np.full((2, 3, 8, 8), np.nan, np.float32))
    (tmp_path / "m.tflite").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"m\.tflite"):
        explain(tmp_path / "m.tflite", BOARD)
    with pytest.raises(ModelError, match="no calibration|leave the calibration data out"):
        explain(tmp_path / "m.tflite", BOARD, np.zeros((1, 2), np.float32))
    with pytest.raises(ModelError, match=r"none\.tflite"):
        explain(tmp_path / "none.tflite", BOARD)
