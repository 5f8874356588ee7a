"""Single TFLite operators with random parameters: equal to the reference kernels, or refused."""

import pytest

from systolith.sw.errors import ModelError
from systolith.sw.importer.tflite import import_tflite
from tests.tflite_check import check, inputs
from tests.tflite_models import reference
from tests.tflite_operators import KINDS, random_operator

SEEDS = 16


def accepted(model, xs, ys):
    """Tell whether the reference interpreter takes a model."""
    try:
        reference(model.finish(xs, ys), *inputs(model, xs), whole=model.batch > 1)
    except (RuntimeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_operator(kind):
    ran = 0
    for seed in range(SEEDS):
        found = random_operator(kind, seed)
        if found is None or not accepted(*found):
            continue
        m, xs, ys = found
        try:
            import_tflite(m.finish(xs, ys), "m.tflite")
        except ModelError as error:
            assert str(error).startswith("m.tflite: ") and "; " in str(error)
            continue
        check(m, xs, ys, machine=seed % 4 == 0)
        ran += 1
    assert ran >= (4 if kind == "REDUCE_MAX" else SEEDS // 2)
