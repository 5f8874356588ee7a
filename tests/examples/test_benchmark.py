"""Cycles of the zoo: no network takes more than its baseline allows; the RTL takes what is said."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from systolith.boards.targets import find_config
from systolith.examples import benchmark
from systolith.examples.benchmark import (
    MOST_GROWTH,
    WrongAnswer,
    baseline,
    entry_called,
    grown,
    measure,
    public_name,
)
from systolith.examples.zoo import ZOO, Entry
from systolith.hw.config import Config
from systolith.sim.machine_device import MachineDevice
from systolith.sw.device import Device
from systolith.sw.errors import DataError
from systolith.sw.importer.load import load_model
from systolith.sw.partition import compile_network
from tests.tflite_hosted import activation
from tests.tflite_models import Model
from tests.tflite_networks import convolve

QUICK = {"ulx3s-85f": [public_name(entry) for entry in ZOO.values()],
         "icebreaker": ["lenet", "mnist1d", "spoken_digits"]}
SMALL = Config(rows=4, columns=4, banks=2, bank_words=1024, post_lanes=4, program_words=1024)


@pytest.mark.parametrize("target,name", [(t, n) for t, names in QUICK.items() for n in names])
def test_cycles_have_not_grown(target, name):
    program = compile_network(load_model(entry_called(name).path), find_config(target))
    assert grown(target, name, program.predicted_cycles) is None


def test_baseline_has_every_network_that_fits():
    assert set(baseline()["ulx3s-85f"]) == set(QUICK["ulx3s-85f"])
    assert set(QUICK["icebreaker"]) < set(baseline()["icebreaker"])


def test_growth_is_told():
    before = baseline()["ulx3s-85f"]["resnet8"]
    assert grown("ulx3s-85f", "resnet8", int(before * (1 + MOST_GROWTH))) is None
    text = grown("ulx3s-85f", "resnet8", int(before * 1.02))
    assert "resnet8" in text and "2.0%" in text and f"{before:,}" in text
    assert grown("nowhere", "resnet8", 10**9) is None


def test_networks_go_by_both_names():
    assert entry_called("mobilenetv1-0.25-96") is entry_called("mobilenetv1_025")
    with pytest.raises(DataError, match="lenet"):
        entry_called("lenin")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostedEntry(Entry):
    """A network that is not in the zoo."""

    file: Path

    @property
    def path(self):
        return self.file


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


def test_networks_in_segments_are_measured(monkeypatch, tmp_path):
    """The sum of the cycles of their jobs; the model of the RTL stands in for it here."""
    m = Model(np.random.default_rng(1))
    x = m.map((8, 8, 3))
    y = convolve(m, activation(m, "HARD_SWISH", convolve(m, x, 4)), 4)
    entry = HostedEntry(name="hosted", task="none", file=tmp_path / "hosted.tflite")
    entry.path.write_bytes(m.finish([x], [y]))
    monkeypatch.setattr(benchmark.device, "open",
                        lambda url, config: Device(MachineDevice(config)))
    row = measure(entry, "here", SMALL)
    assert row.cycles == row.predicted_cycles > 0


@pytest.mark.parametrize("error", [0, 1])
def test_an_answer_that_differs_is_an_error(monkeypatch, error):
    golden = np.arange(10, dtype=np.float32)[None]
    monkeypatch.setattr(benchmark, "run_model", lambda graph, image: (golden,))
    monkeypatch.setattr(benchmark.device, "open",
                        lambda url, config: Simulation((golden + error,), (20_000,)))
    config = find_config("ulx3s-85f")
    if error:
        with pytest.raises(WrongAnswer, match="lenet on here"):
            measure(ZOO["lenet"], "here", config)
        return
    row = measure(ZOO["lenet"], "here", config)
    assert dataclasses.asdict(row) == {
        "network": "lenet", "target": "here", "macs": 416_520, "cycles": 20_000,
        "predicted_cycles": row.predicted_cycles, "utilization": 416_520 / 128 / 20_000}
