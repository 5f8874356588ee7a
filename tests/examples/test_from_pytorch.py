"""The PyTorch example does what it says; where PyTorch is installed."""

import pytest

pytest.importorskip("torch", reason="PyTorch is optional: pip install --group train")
pytest.importorskip("onnxscript", reason="the exporter needs it: pip install --group train")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_from_pytorch(capsys):
    from systolith.examples.from_pytorch import main

    assert main() > 0.9
    assert "at most 0 steps" in (printed := capsys.readouterr().out) or "at most 1 steps" in printed
