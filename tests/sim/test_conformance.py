"""ONNX's node tests: the harness on cases of its own, and the run that docs/operators.md shows."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.backend.test.case.test_case import TestCase

from systolith.boards.targets import find_config
from systolith.sim import conformance
from systolith.sim.conformance import check_case, claimed, node_cases, operator_of
from systolith.sim.conformance_page import conformance_data, conformance_page
from systolith.sim.onnx_backend import Network
from systolith.sw.importer.reader import HANDLERS

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def case_of(op, operands, answers, opset=17, **attributes):
    """Return a test case of one node."""
    names = [f"x{i}" for i in range(len(operands))], [f"y{i}" for i in range(len(answers))]
    infos = [[helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype),
                                            array.shape)
              for name, array in zip(*pair, strict=True)]
             for pair in zip(names, (operands, answers), strict=True)]
    graph = helper.make_graph([helper.make_node(op, *names, **attributes)], "case", *infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return TestCase(name=f"test_{op}", model_name=op, url=None, model_dir=None, model=model,
                    data_sets=[(operands, answers)], kind="node", rtol=1e-3, atol=1e-7)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_a_float_case_passes_within_a_step(rng):
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((2, 3, 6, 6), (4, 3, 3, 3)))
    outcome = check_case(case_of("Conv", [x, w], [np.zeros((2, 4, 4, 4), np.float32)]))
    assert (outcome.verdict, outcome.operator, outcome.reason) == ("passed", "Conv", "")
    assert 0 < outcome.steps <= conformance.TOLERANCE


def test_an_answer_that_is_off_fails(rng, monkeypatch):
    x = rng.normal(size=(1, 3, 4)).astype(np.float32)
    run = Network.run
    for added, verdict in ((0, "passed"), (0.05, "failed")):
        monkeypatch.setattr(Network, "run", lambda self, inputs, added=added: tuple(
            y + np.float32(added) for y in run(self, inputs)))
        outcome = check_case(case_of("Relu", [x], [np.maximum(x, 0)]))
        assert outcome.verdict == verdict and ("steps off" in outcome.reason) == bool(added)


def test_integers_must_be_equal(rng):
    x = rng.integers(0, 256, (1, 2, 4, 4)).astype(np.uint8)
    y = x.reshape(1, 2, 2, 2, 2, 2).max(axis=(3, 5))
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    assert check_case(case_of("MaxPool", [x], [y], **attributes)).verdict == "passed"
    y = y.copy()
    y[0, 1, 0, 1] ^= 1
    outcome = check_case(case_of("MaxPool", [x], [y], **attributes))
    assert (outcome.verdict, outcome.reason) == ("failed", "1 of 8 elements differ")


def test_an_error_of_another_kind_is_a_failure(rng, monkeypatch):
    def broken(builder, node):
        raise KeyError("a defect")

    monkeypatch.setitem(HANDLERS, "Relu", broken)
    x = np.ones((1, 2), np.float32)
    outcome = check_case(case_of("Relu", [x], [x]))
    assert outcome.verdict == "failed" and outcome.reason == "KeyError: 'a defect'"


def test_a_refusal_has_the_importer_s_reason(rng):
    x = rng.normal(size=(2, 3)).astype(np.float32)
    outcome = check_case(case_of("Softmax", [x], [x], axis=0))
    assert outcome.verdict == "refused" and "over the batch" in outcome.reason
    x = x.astype(np.float64)
    outcome = check_case(case_of("Relu", [x], [x]))
    assert outcome.verdict == "refused" and "is double" in outcome.reason


@pytest.mark.parametrize("mode", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (1, 4), (4, 3), (5, 2), (2,)])
def test_linear_resize(rng, factors, mode):
    """Here and not beside onnxruntime, whose int8 Resize cuts fractions off."""
    x = rng.normal(size=(2, 3, *(6, 5)[:len(factors)])).astype(np.float32)
    y = np.zeros((2, 3, *(n * k for n, k in zip(x.shape[2:], factors, strict=True))), np.float32)
    none, scales = np.zeros(0, np.float32), np.array([1, 1, *factors], np.float32)
    outcome = check_case(case_of("Resize", [x, none, scales], [y], mode="linear",
                                 coordinate_transformation_mode=mode))
    assert (outcome.verdict, outcome.reason) == ("passed", "") and outcome.steps <= 0.51


def test_every_operator_of_the_importer_is_in_the_table():
    rows = {row["operator"] for row in conformance_data([])["operators"]}
    assert rows == set(HANDLERS)
    committed = set(re.findall(r"^\| (\w+)(?: \(.*?\))? \| \d+ \|", PAGE.read_text(), re.M))
    assert committed == rows, "run: make docs"


@pytest.mark.slow
def test_the_page_is_up_to_date():
    config, cases = find_config("ulx3s-85f"), node_cases()
    tried = claimed(cases)
    outcomes = [check_case(case, config) for case in tried]
    assert len(outcomes) > 300
    assert [outcome for outcome in outcomes if outcome.verdict == "failed"] == []
    text = PAGE.read_text(encoding="utf-8")
    if f"ONNX {onnx.__version__}," not in text:
        pytest.skip(f"docs/operators.md is of another ONNX than {onnx.__version__}")
    known = set(map(operator_of, tried))
    others = [operator_of(case) for case in cases if operator_of(case) not in known]
    assert text == conformance_page(outcomes, others), "run: make docs"
