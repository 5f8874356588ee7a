from dataclasses import replace
from types import SimpleNamespace

import pytest

from systolith.boards.targets import TARGETS, find_target
from systolith.examples import benchmark, throughput, training_step
from systolith.examples.benchmark import Row
from systolith.sw.errors import CapacityError


def row(network, target, cycles):
    return Row(network=network, target=target, macs=416_520, cycles=cycles,
               predicted_cycles=cycles, utilization=0.3)


@pytest.fixture
def measured(monkeypatch):
    """Return a dict, network -> cycles, that stands in for the RTL; None does not fit."""
    cycles = {"lenet": 7_000, "resnet8": None}

    def measure(work, config, batch):
        if cycles[work.name] is None:
            raise CapacityError("needs more than there is")
        return replace(row(work.name, config.name, cycles[work.name]), batch=batch)
    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "WORKS", {name: benchmark.WORKS[name] for name in cycles})
    return cycles


def test_rows(systolith, measured):
    run = systolith("bench", "-n", "lenet", "--check", "--json")
    assert run.code == 0
    assert run.json["rows"] == [{
        "network": "lenet", "target": "ulx3s-85f", "macs": 416_520, "cycles": 7_000,
        "predicted_cycles": 7_000, "utilization": 0.3, "batch": 1}]
    assert run.json["bars"] == [{"target": "ulx3s-85f", "network": "lenet", "cycles": None,
                                 "utilization": 0.4, "met": False}]
    milliseconds = 1e3 * 7_000 / find_target("ulx3s-85f").clock_hz
    assert f"{milliseconds:.2f}" in run.err and "40%" in run.err and "MISSED" in run.err


def test_a_batch(systolith, measured):
    run = systolith("bench", "-n", "lenet", "--batch", "8", "--json")
    assert run.json["rows"][0]["batch"] == 8


def test_several_targets(systolith, measured):
    run = systolith("bench", "-t", "icebreaker", "-t", "multipliers72", "--json")
    assert [(r["network"], r["target"]) for r in run.json["rows"]] == [
        ("lenet", "icebreaker"), ("lenet", "multipliers72")]
    assert [peer["cycles"] for peer in run.json["peers"]] == [17_458]
    assert "17,458" in run.err
    assert {target: list(names) for target, names in run.json["does_not_fit"].items()} == {
        "icebreaker": ["resnet8"], "multipliers72": ["resnet8"]}


def test_all_targets(systolith, measured):
    run = systolith("bench", "--all", "-n", "lenet", "--json")
    assert [r["target"] for r in run.json["rows"]] == list(benchmark.all_targets())


def test_a_slower_network_fails_the_check(systolith, measured):
    measured["lenet"] = 11_000
    assert systolith("bench", "-n", "lenet").code == 0
    run = systolith("bench", "-n", "lenet", "--check")
    assert run.code == 1 and "lenet on ulx3s-85f takes 11,000 cycles" in run.out


def test_what_does_not_fit(systolith, measured):
    assert systolith("bench", "-n", "resnet8").code == CapacityError.exit_code
    run = systolith("bench", "--json")
    assert run.code == 0 and "resnet8 does not fit: needs more" in run.err
    assert list(run.json["does_not_fit"]["ulx3s-85f"]) == ["resnet8"]


def test_an_unknown_network(systolith):
    run = systolith("bench", "-n", "alexnet")
    assert run.code == 3 and "lenet" in run.err


def test_throughput(systolith, monkeypatch):
    asked = []

    def measure(work, config, lines):
        asked.append((work.name, config.name, [line.byte_cycles for line in lines]))
        yield throughput.Row(
            network=work.name, target=config.name, link=lines[0].name, images=16, byte_cycles=50,
            cycles=20_000.0, array_cycles=10_000, link_cycles=19_000, images_per_second=5000.0,
            knee_bytes_per_second=3.8e6)
    monkeypatch.setattr(throughput, "measure", measure)
    run = systolith("bench", "--suite", "throughput", "-n", "lenet", "--byte-cycles", "50",
                    "--json")
    assert asked == [("lenet", "ulx3s-85f", [50])]
    (found,) = (SimpleNamespace(**r) for r in run.json["rows"])
    rate = TARGETS["ulx3s-85f"].clock_hz / 50 / 1e6
    assert found.link == f"{rate:.3g} MB/s"
    assert (found.bottleneck, found.images_per_second) == ("link", 5000)
    assert "95%" in run.err and "3.8 MB/s" in run.err


def test_training(systolith, monkeypatch):
    monkeypatch.setattr(training_step, "measure", lambda config: training_step.Row(
        network="lenet5-train", target=config.name, macs=32_000_000, cycles=640_000, batch=32,
        predicted_cycles=640_000, utilization=0.4, micro_batch=3))
    run = systolith("bench", "--suite", "training", "--check", "--json")
    (row,) = run.json["rows"]
    assert run.code == 1 and "lenet5-train on ulx3s-85f-train takes 640,000" in run.out
    assert (row["cycles_per_image"], row["macs_per_cycle"]) == (20_000, 50)
    assert row["images_per_second"] == row["clock_hz"] / 20_000
    assert not run.json["bars"][0]["met"] and "MISSED" in run.err
    assert "FPGA trainer" in run.err and "14.75" in run.err and "10,650" in run.err


@pytest.mark.slow
def test_the_rtl_trains_in_the_predicted_cycles(systolith):
    run = systolith("bench", "--suite", "training", "--check", "--json")
    assert run.code == 0, run.err
    (row,) = run.json["rows"]
    assert row["cycles"] == row["predicted_cycles"] == 32 * row["cycles_per_image"]


@pytest.mark.slow
def test_the_rtl_takes_the_predicted_cycles(systolith):
    run = systolith("bench", "-n", "lenet", "-n", "mnist1d", "-n", "dscnn", "--check", "--json")
    assert run.code == 0
    assert [r["network"] for r in run.json["rows"]] == ["lenet", "mnist1d", "dscnn"]
    for r in run.json["rows"]:
        assert abs(r["cycles"] / r["predicted_cycles"] - 1) <= 0.005
