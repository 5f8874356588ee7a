import pytest

from systolith.examples.benchmark import Row
from systolith.examples.zoo import ZOO
from systolith.sw.errors import CapacityError


def row(network, cycles):
    return Row(network=network, target="ulx3s-85f", macs=416_520, cycles=cycles,
               predicted_cycles=cycles, utilization=0.3)


@pytest.fixture
def measured(monkeypatch):
    """Return a dict, network -> cycles, that stands in for the RTL; None does not fit."""
    cycles = {"lenet": 10_009, "resnet8": None}

    def measure(entry, target, config):
        if cycles[entry.name] is None:
            raise CapacityError("needs more than there is")
        return row(entry.name, cycles[entry.name])
    monkeypatch.setattr("systolith.examples.benchmark.measure", measure)
    return cycles


def test_rows(systolith, measured):
    run = systolith("bench", "-n", "lenet", "--check", "--json")
    assert run.code == 0
    assert run.json["rows"] == [{
        "network": "lenet", "target": "ulx3s-85f", "macs": 416_520, "cycles": 10_009,
        "predicted_cycles": 10_009, "utilization": 0.3}]


def test_a_slower_network_fails_the_check(systolith, measured):
    measured["lenet"] = 11_000
    assert systolith("bench", "-n", "lenet").code == 0
    run = systolith("bench", "-n", "lenet", "--check")
    assert run.code == 1 and "lenet on ulx3s-85f takes 11,000 cycles" in run.out


def test_what_does_not_fit(systolith, measured, monkeypatch):
    assert systolith("bench", "-n", "resnet8").code == CapacityError.exit_code
    monkeypatch.setattr("systolith.examples.zoo.ZOO", {name: ZOO[name] for name in measured})
    run = systolith("bench", "--json")
    assert run.code == 0 and "resnet8 does not fit: needs more" in run.err
    assert list(run.json["does_not_fit"]) == ["resnet8"]


def test_an_unknown_network(systolith):
    run = systolith("bench", "-n", "alexnet")
    assert run.code == 3 and "lenet" in run.err


@pytest.mark.slow
def test_the_rtl_takes_the_predicted_cycles(systolith):
    run = systolith("bench", "-n", "lenet", "-n", "mnist1d", "--check", "--json")
    assert run.code == 0 and [r["network"] for r in run.json["rows"]] == ["lenet", "mnist1d"]
    for r in run.json["rows"]:
        assert abs(r["cycles"] / r["predicted_cycles"] - 1) <= 0.005
