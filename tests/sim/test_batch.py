"""A batch on the instruction-level model is the device ``machine:``, image after image."""

import numpy as np

from systolith.sim import batch, golden
from systolith.sw import device
from tests.compiled import CONFIGS, random_case


def test_batch_is_the_device(monkeypatch):
    monkeypatch.setattr(batch, "_SIZE", 2)       # 5 images: a batch that is not full
    case = random_case(np.random.default_rng(8), CONFIGS["default"], images=5)
    x = next(iter(case.inputs.values()))
    assert len(case.inputs) == 1
    found = batch.run_batch(case.program, x.transpose(0, 3, 1, 2))
    with device.open("machine:", case.program.config) as opened:
        opened.load(case.program)
        expected = opened.run(x.transpose(0, 3, 1, 2)).outputs
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    golden_outputs = golden.run_model(case.graph, x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(found[0], golden_outputs[0])
