"""Cycles of the zoo: no network takes more than its baseline allows; the RTL takes what is said."""

import dataclasses

import numpy as np
import pytest

from systolith.boards.errors import BoardError
from systolith.examples import benchmark, training_step
from systolith.examples.bars import BARS, PEERS, Bar, bar_of, most_cycles
from systolith.examples.benchmark import (
    MOST_GROWTH,
    WORKS,
    Work,
    WrongAnswer,
    all_targets,
    baseline,
    bench_config,
    find_work,
    grown,
    measure,
)
from systolith.examples.zoo import ZOO
from systolith.hw.config import Config
from systolith.sim.machine_device import MachineDevice
from systolith.sw.device import Device
from systolith.sw.errors import CapacityError, DataError
from systolith.sw.importer.tflite import import_tflite
from systolith.sw.partition import compile_network
from tests.tflite_hosted import activation
from tests.tflite_models import Model
from tests.tflite_networks import convolve

SMALL = Config(rows=4, columns=4, banks=2, bank_words=1024, post_lanes=4, program_words=1024)
#: Every target and network of the baseline; long programs are not compiled in a moment.
COMMITTED = [pytest.param(target, name, marks=[pytest.mark.slow] * (cycles > 200_000))
             for target, networks in baseline().items() for name, cycles in networks.items()
             if name in WORKS]


@pytest.mark.parametrize("target, name", COMMITTED)
def test_cycles_have_not_grown(target, name):
    program = compile_network(find_work(name).load(), bench_config(target))
    assert grown(target, name, program.predicted_cycles) is None


def test_the_baseline_is_of_targets_there_are():
    assert {"ulx3s-85f", "ulx3s-85f-train", "icebreaker", "multipliers72"} <= set(baseline()) <= (
        set(all_targets()) | set(all_targets(training=True)))


@pytest.mark.slow
@pytest.mark.parametrize("target", [name for name in baseline() if name in all_targets()])
def test_what_the_baseline_leaves_out_does_not_fit(target):
    for name in set(WORKS) - set(baseline()[target]):
        with pytest.raises(CapacityError):
            compile_network(find_work(name).load(), bench_config(target))


def test_growth_is_told():
    before = baseline()["ulx3s-85f"]["resnet8"]
    assert grown("ulx3s-85f", "resnet8", int(before * (1 + MOST_GROWTH))) is None
    text = grown("ulx3s-85f", "resnet8", int(before * 1.02))
    assert "resnet8" in text and "2.0%" in text and f"{before:,}" in text
    assert grown("nowhere", "resnet8", 10**9) is None


def test_networks_go_by_both_names():
    assert find_work("mobilenetv1-0.25-96") is find_work("mobilenetv1_025")
    assert {find_work(name).name for name in ZOO} < set(WORKS)
    with pytest.raises(DataError, match="lenet"):
        find_work("lenin")


def test_targets_go_by_name_or_file(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"name": "mine", "rows": 8}')
    assert bench_config(str(file)).rows == 8
    assert bench_config("multipliers72").multipliers == 72
    with pytest.raises(BoardError, match="no target"):
        bench_config("nowhere")


def test_bars():
    bar = bar_of("ulx3s-85f", "resnet8")
    assert str(bar) == "105,000" and bar.met(105_000, 0) and not bar.met(105_001, 1)
    share = Bar("here", "lenet", utilization=0.4)
    assert str(share) == "40%" and share.met(10**9, 0.4) and not share.met(1, 0.39)
    assert bar_of("ulx3s-85f", "faces") is None and most_cycles("nowhere", "resnet8") is None
    assert most_cycles("ulx3s-85f", "dscnn") == 30_000
    assert {bar.network for bar in BARS} | {peer.network for peer in PEERS} <= {
        *WORKS, training_step.NETWORK}


def test_peers_have_as_many_multipliers():
    assert {bench_config(peer.target).multipliers for peer in PEERS} == {72}
    for peer in PEERS:                         # its LeNet is smaller than ours
        assert baseline()[peer.target][peer.network] < peer.cycles


class Simulation:
    """A device that answers what it was told to."""

    def __init__(self, outputs, cycles):
        self.outputs, self.cycles = outputs, cycles

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def load(self, program):
        pass

    def run(self, image):
        return self


def test_networks_in_segments_are_measured(monkeypatch):
    """The sum of the cycles of their jobs; the model of the RTL stands in for it here."""
    m = Model(np.random.default_rng(1))
    x = m.map((8, 8, 3))
    y = convolve(m, activation(m, "HARD_SWISH", convolve(m, x, 4)), 4)
    graph = import_tflite(m.finish([x], [y]), "hosted.tflite")
    monkeypatch.setattr(benchmark.device, "open",
                        lambda url, config: Device(MachineDevice(config)))
    row = measure(Work("hosted", lambda: graph), SMALL)
    assert row.cycles == row.predicted_cycles > 0


def test_images_of_a_batch_share_their_job(monkeypatch):
    monkeypatch.setattr(benchmark.device, "open",
                        lambda url, config: Device(MachineDevice(config)))
    work, config = find_work("lenet"), bench_config("ulx3s-85f")
    row, alone = (measure(work, config, batch) for batch in (8, 1))
    assert (row.batch, alone.batch, row.macs) == (8, 1, alone.macs)
    assert row.cycles == row.predicted_cycles < 0.6 * alone.cycles
    assert row.utilization > 0.7


@pytest.mark.parametrize("error", [0, 1])
def test_an_answer_that_differs_is_an_error(monkeypatch, error):
    golden = np.arange(10, dtype=np.float32)[None]
    monkeypatch.setattr(benchmark, "run_model", lambda graph, image: (golden,))
    monkeypatch.setattr(benchmark.device, "open",
                        lambda url, config: Simulation((golden + error,), (20_000,)))
    config = bench_config("ulx3s-85f")
    if error:
        with pytest.raises(WrongAnswer, match="lenet on ulx3s-85f"):
            measure(find_work("lenet"), config)
        return
    row = measure(find_work("lenet"), config)
    assert dataclasses.asdict(row) == {
        "network": "lenet", "target": "ulx3s-85f", "macs": 416_520, "cycles": 20_000,
        "predicted_cycles": row.predicted_cycles, "utilization": 416_520 / 128 / 20_000,
        "batch": 1}
