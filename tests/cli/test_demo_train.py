"""``demo-train`` on the instruction-level model and, for a few steps, on the RTL."""

import pytest

from systolith.cli.curves import curve


def test_on_the_instruction_level_model(systolith):
    run = systolith("demo-train", "--device", "machine:", "--images", 120, "--epochs", 3, "--json")
    assert run.code == 0, run.err
    result = run.json
    assert len(result["losses"]) == 30 and result["losses"][-1] < 0.7 * result["losses"][0]
    assert result["validation"][-1] > result["untrained"] + 0.2
    assert result["cycles"] > 360 * 5926 and result["learns"]
    assert "Update   30  loss" in run.err and "Epoch     3" in run.err and "█" in run.err


@pytest.mark.slow
def test_on_the_rtl(systolith):
    """Too few steps to learn much, and it says so; every report is the golden model's."""
    run = systolith("demo-train", "--images", 12, "--epochs", 1, "--json")
    assert run.code == (0 if run.json["learns"] else 1), run.err
    assert len(run.json["losses"]) == 1 and run.json["cycles"] > 12 * 5926


def test_curves():
    assert curve([1.0]) == "▁  1.0000 to 1.0000"
    assert curve([3, 2, 1]) == "█▅▁  3.0000 to 1.0000"
    assert curve([0, 0, 7, 7, 14, 14], 3) == "▁▅█  0.0000 to 14.0000"
