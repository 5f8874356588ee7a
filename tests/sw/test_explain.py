"""What is said of models that run, and of what blocks the others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from systolith.boards.targets import TARGETS
from systolith.sw.errors import CapacityError, ModelError, UnsupportedError
from systolith.sw.explain import Place, explain_model
from systolith.sw.importer import import_onnx, load_model
from systolith.sw.importer.tflite import import_tflite
from systolith.sw.importer.tflite import reader as tflite_reader
from systolith.sw.origin import Fate
from systolith.sw.partition import compile_network
from systolith.sw.steps import Unit
from tests import tflite_models
from tests.onnx_models import Model, quantized
from tests.tflite_hosted import activation, block
from tests.tflite_networks import convolve

EXAMPLES = Path(__file__).parents[2] / "examples"
LENET = EXAMPLES / "lenet/lenet_int8.onnx"
RESNET = EXAMPLES / "resnet8/resnet8_int8.tflite"
ULX3S, ICEBREAKER = (TARGETS[name].config for name in ("ulx3s-85f", "icebreaker"))


def save(tmp_path, proto):
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    return path


def places(explanation):
    return {node.node: node.where for node in explanation.nodes}


@pytest.mark.parametrize("path, config", [
    (LENET, ULX3S), (LENET, ICEBREAKER), (RESNET, ULX3S),
    (EXAMPLES / "dscnn/dscnn_int8.tflite", ULX3S)])
def test_costs_are_those_of_the_program(path, config):
    explanation = explain_model(path, config)
    program = compile_network(load_model(path), config)
    nodes = explanation.nodes
    assert explanation.runs and not explanation.blocks
    assert explanation.cycles == program.predicted_cycles == sum(n.cycles or 0 for n in nodes)
    assert sum(n.share or 0 for n in nodes) == pytest.approx(1)
    assert sum(n.macs for n in nodes) == sum(layer.macs for layer in program.layers)
    assert sum(n.constant_bytes for n in nodes) == explanation.memory.constants
    assert max(n.map_bytes for n in nodes) <= explanation.memory.maps
    assert all(n.why for n in nodes)


def test_what_only_an_output_needs_has_a_line_of_its_own(tmp_path):
    """A slice is free before a fully connected layer, but not as a result."""
    m = tflite_models.Model(np.random.default_rng(0))
    x = m.map((6, 5, 7))
    begin, size = (m.constant(np.array(n, np.int32)) for n in ((0, 0, 0, 2), (1, 6, 5, 3)))
    y = m.op("SLICE", [x, begin, size], m.map((6, 5, 3), like=x), "SliceOptions")
    path = tmp_path / "m.tflite"
    path.write_bytes(m.finish([x], [y]))
    explanation = explain_model(path, ULX3S)
    assert [(n.op, n.where) for n in explanation.nodes] == [
        ("SLICE", Place.LAYOUT), ("model output", Place.POST)]
    assert explanation.cycles == sum(n.cycles or 0 for n in explanation.nodes) > 0


def test_every_node_of_a_file_has_one_line():
    model = onnx.load(LENET)
    assert [node.node for node in explain_model(LENET, ULX3S).nodes] == [
        node.name for node in model.graph.node]


def test_rearrangement_on_the_host_is_told(tmp_path):
    """A vector that becomes a map: nothing but the host makes that, and its reader says so."""
    m = Model((8,))
    x = m.node("Reshape", m.gemm("x", 48, 8), m.integers(-1, 3, 4, 4))
    proto = quantized(m.finish(m.conv(x, 3, 3, (1, 1))), m.data())
    explanation = explain_model(save(tmp_path, proto), ULX3S)
    conv, = (node for node in explanation.nodes if node.op == "Conv")
    assert conv.where is Place.ARRAY and conv.why.endswith("2 steps, Rearrange on the host")
    assert explanation.runs and explanation.segments == 2


def test_places_of_a_small_network(tmp_path):
    m = Model((3, 10, 10))
    x = m.node("Relu", m.batch_norm(m.conv("x", 8, 3, (3, 3)), 8))
    x = m.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    y = m.conv(x, 8, 1, (3, 3), group=8, pads=[1] * 4)
    x = m.node("Add", y, x)
    x = m.node("Flatten", x)
    x = m.node("Softmax", m.gemm(x, 5, 128))
    explanation = explain_model(save(tmp_path, quantized(m.finish(x), m.data())), ULX3S)
    by_op = {}
    for node in explanation.nodes:
        by_op.setdefault(node.op, []).append(node)
    first, depthwise = by_op["Conv"]
    assert first.where is Place.ARRAY and depthwise.where is Place.WINDOW
    pool, = by_op["MaxPool"]
    assert pool.where is Place.FUSED and pool.layer == first.layer and pool.cycles is None
    add, = by_op["Add"]
    assert add.where is Place.FUSED and add.layer == depthwise.layer
    assert by_op["Flatten"][0].where is Place.LAYOUT
    assert by_op["Gemm"][0].where is Place.ARRAY and by_op["Softmax"][0].where is Place.HOST


def test_a_bound_is_fused():
    m = Model((3, 6, 6))
    x = m.fake_quantize("x", 0.02, 0)
    w = m.constant(np.ones((4, 3, 1, 1)), np.int8)
    w = m.node("DequantizeLinear", w, m.constant(0.01), m.constant(0, np.int8))
    x = m.node("Relu", m.node("Conv", x, w))
    x = m.fake_quantize(x, 0.05, 0)
    proto = m.finish(x)
    origins = {o.op: o for o in import_onnx(proto, "net.onnx").origins}
    assert origins["Relu"].fate == "fused" and origins["Relu"].ops == origins["Conv"].ops


@pytest.mark.parametrize("change, reason", [
    ({"window": False}, "no window unit"), ({"window_width": 8}, "rows of 8 pixels")])
def test_why_the_window_unit_is_not_used(tmp_path, change, reason):
    m = Model((8, 12, 12))
    path = save(tmp_path, quantized(
        m.finish(m.conv("x", 8, 1, (3, 3), group=8, pads=[1] * 4)), m.data()))
    conv, = (n for n in explain_model(path, replace(ULX3S, **change)).nodes if n.op == "Conv")
    assert conv.where is Place.DIAGONAL and reason in conv.why
    conv, = (n for n in explain_model(path, ULX3S).nodes if n.op == "Conv")
    assert conv.where is Place.WINDOW


def test_the_hosts_part_inside_a_network(tmp_path):
    m = tflite_models.Model(np.random.default_rng(1))
    x = m.map((12, 12, 3))
    path = tmp_path / "m.tflite"
    path.write_bytes(m.finish([x], [block(m, activation(m, "HARD_SWISH", convolve(m, x, 8)))]))
    explanation = explain_model(path, ULX3S)
    program = compile_network(load_model(path), ULX3S)
    wanted = [(layer.name, layer.op) for layer in program.layers if layer.unit == Unit.HOST]
    hosted = [node for node in explanation.nodes if node.where is Place.HOST]
    assert explanation.segments == len(program.programs) == 5
    assert {"HARD_SWISH", "MUL"} == {node.op for node in hosted}
    assert [(node.layer, f"{node.op} on the host") for node in hosted] == wanted
    assert all("between two programs" in node.why and node.cycles is None for node in hosted)
    assert explanation.cycles == sum(node.cycles or 0 for node in explanation.nodes)


def test_functions_of_one_map_inside_an_onnx_model(tmp_path):
    m = Model((3, 6, 6))
    x = m.conv("x", 4, 3, (1, 1))
    first, second = m.node("Sigmoid", x), m.node("Tanh", x)
    second = m.conv(second, 4, 4, (1, 1))
    x = m.node("Add", m.conv(first, 4, 4, (1, 1)), second)
    nodes = explain_model(save(tmp_path, quantized(m.finish(x), m.data())), ULX3S).nodes
    hosted = {node.op: node for node in nodes if node.where is Place.HOST}
    assert hosted["Sigmoid"].layer.endswith("sigmoid") and hosted["Tanh"].layer.endswith("tanh")
    assert all(node.where in (Place.ARRAY, Place.POST, Place.FUSED)
               for node in nodes if node.op in ("Conv", "Add"))


# -- models that do not run --------------------------------------------------------------------


def test_all_blocking_nodes_of_an_onnx_model(tmp_path):
    """One behind the other, the second of a supported operator: its attributes are looked at."""
    m = Model((3, 8, 8))
    x = m.node("Sin", m.conv("x", 4, 3, (3, 3)))
    x = m.node("MaxPool", m.conv(x, 4, 4, (1, 1)), kernel_shape=[2, 2], dilations=[2, 2])
    x = m.conv(x, 4, 4, (1, 1))
    proto = quantized(m.finish(x), m.data())
    explanation = explain_model(save(tmp_path, proto), ULX3S)
    assert not explanation.runs and explanation.error.exit_code == 2
    assert [block.op for block in explanation.blocks] == ["Sin", "MaxPool"]
    assert all(block.reason and block.advice for block in explanation.blocks)
    where = {(n.op, n.where) for n in explanation.nodes}
    assert ("Sin", Place.BLOCKED) in where and ("MaxPool", Place.BLOCKED) in where
    assert {place for op, place in where if op == "Conv"} == {Place.UNPLACED}
    with pytest.raises(UnsupportedError, match="2 nodes"):
        load_model(tmp_path / "net.onnx")


def test_all_blocking_operators_of_a_tflite_model(tmp_path):
    m = tflite_models.Model(np.random.default_rng(0))
    x = m.map((6, 5, 4))
    y = m.map((6, 5, 4))
    m.op("ELU", [x], y)
    z = m.map((6, 5, 4))
    m.op("LEAKY_RELU", [y], z, "LeakyReluOptions", Alpha=float("nan"))
    path = tmp_path / "m.tflite"
    path.write_bytes(m.finish([x], [convolve(m, z, 8)]))
    explanation = explain_model(path, ULX3S)
    assert [(block.op, block.node) for block in explanation.blocks] == [
        ("ELU", "t1"), ("LEAKY_RELU", "t2")]


@pytest.mark.parametrize("model", ["lenet", "mnist1d", "spoken_digits"])
def test_one_bad_node_anywhere_is_the_only_refusal(model):
    """Behind each node of a sound model in turn: nothing else is refused because of it."""
    sound = onnx.load(EXAMPLES / model / f"{model}_int8.onnx")
    ends = {info.name for info in sound.graph.output}
    tried = 0
    for i, node in enumerate(sound.graph.node):
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.output[0] in ends:
            continue
        proto = onnx.ModelProto()
        proto.CopyFrom(sound)
        proto.graph.node[i].output[0] = "between"
        proto.graph.node.insert(i + 1, onnx.helper.make_node(
            "Sin", ["between"], [node.output[0]], name="bad"))
        with pytest.raises(UnsupportedError) as caught:
            import_onnx(proto, "net.onnx")
        assert [refusal.node for refusal in caught.value.refusals] == ["bad"]
        unknown = {o.op for o in caught.value.origins if o.fate is Fate.UNKNOWN}
        assert unknown <= {"Reshape", "Squeeze"}, "all is looked at from the next scale on"
        tried += 1
    assert tried > 5


@pytest.mark.parametrize("model", ["resnet8", "dscnn"])
def test_one_bad_operator_anywhere_is_the_only_refusal(model, monkeypatch):
    data = (EXAMPLES / model / f"{model}_int8.tflite").read_bytes()
    sound = tflite_reader.parse(data, "net.tflite")
    for i, operator in enumerate(sound.operators):
        operators = list(sound.operators)
        operators[i] = replace(operator, kind="ELU")
        monkeypatch.setattr(tflite_reader, "parse", lambda data, name, operators=operators: replace(
            sound, operators=operators))
        with pytest.raises(UnsupportedError) as caught:
            import_tflite(data, "net.tflite")
        assert [refusal.op for refusal in caught.value.refusals] == ["ELU"]
        assert [o.fate for o in caught.value.origins].count(Fate.UNKNOWN) == 0


def test_a_refused_end_needs_no_order(tmp_path):
    """A refused node whose quantised result leaves the model adds no refusal of its own."""
    m = Model((3, 8, 8))
    x = m.node("Sin", m.conv("x", 4, 3, (3, 3)))
    path = save(tmp_path, quantized(m.finish(x), m.data()))
    assert [block.op for block in explain_model(path, ULX3S).blocks] == ["Sin"]


def test_a_model_that_does_not_fit():
    path = EXAMPLES / "mobilenetv1_025/mobilenetv1_025_int8.onnx"
    explanation = explain_model(path, ICEBREAKER)
    memory, (blocked,) = explanation.memory, explanation.blocks
    assert explanation.error.exit_code == 4 and explanation.cycles is None
    assert memory.available == ICEBREAKER.memory_bytes < memory.constants + memory.maps
    assert f"{memory.constants:,} bytes" in blocked.reason and memory.worst in blocked.reason
    assert sum(node.constant_bytes for node in explanation.nodes) == memory.constants
    assert max(node.map_bytes for node in explanation.nodes) == memory.maps
    assert not memory.partial and places(explanation)[memory.worst] is Place.ARRAY
    assert explanation.fits({"large": ULX3S, "small": ICEBREAKER}) == ["large"]


def test_all_layers_a_target_cannot_do():
    explanation = explain_model(RESNET, ICEBREAKER)
    assert [block.op for block in explanation.blocks] == ["ADD"] * 3
    assert len({block.node for block in explanation.blocks}) == 3
    assert [n.node for n in explanation.nodes if n.where is Place.BLOCKED] == [
        block.node for block in explanation.blocks]
    with pytest.raises(CapacityError) as caught:
        compile_network(load_model(RESNET), ICEBREAKER)
    assert str(caught.value).count("no unit for adding") == 3


def test_blocked_layers_and_a_shortage_are_told_together():
    small = replace(ICEBREAKER, bank_words=ICEBREAKER.bank_words // 4)
    explanation = explain_model(RESNET, small)
    assert [block.node is None for block in explanation.blocks] == [False, False, False, True]
    assert explanation.memory.partial


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(ModelError, match="net.onnx"):
        explain_model(path, ULX3S)
