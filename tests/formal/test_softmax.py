"""Proof: what the loss unit offers stays there, unchanged, until it is taken."""

import pytest

from systolith.hw.softmax import Softmax
from tests.formal.proofs import prove_contract


@pytest.mark.slow
def test_contract(tmp_path):
    assert prove_contract(Softmax(classes=4), ["i"], ["o"], tmp_path)
