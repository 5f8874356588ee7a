import pytest

from systolith.boards.targets import TARGETS
from systolith.cli import doctor
from systolith.hw.config import Config


def test_targets(systolith):
    run = systolith("targets")
    assert run.code == 0
    for name in TARGETS:
        assert name in run.out


def test_targets_json_carries_whole_configurations(systolith):
    run = systolith("targets", "--json")
    for entry in run.json["targets"]:
        assert Config.from_json(entry["config"]) == TARGETS[entry["name"]].config
    assert "ulx3s-85f" in run.err, "people still see the table, on stderr"


def test_devices_json(systolith):
    urls = [device["url"] for device in systolith("devices", "--json").json["devices"]]
    assert urls[:2] == ["sim:", "machine:"]
    assert all(url.startswith("serial:") for url in urls[2:])


def test_doctor_finds_this_environment(systolith):
    findings = {entry["name"]: entry for entry in systolith("doctor", "--json").json["findings"]}
    assert findings["amaranth"]["found"].startswith("0.5")
    for program in ("yosys", "icepack", "nextpnr-himbaechel-gowin", "gowin_pack"):
        assert findings[program]["found"], program
    assert all(entry["fix"] for entry in findings.values())


def test_doctor_fails_when_something_needed_is_missing(systolith, monkeypatch):
    missing = doctor.Finding("perl", None, "compiling the simulation", "apt install perl")
    optional = doctor.Finding("serial port", None, "boards", "connect one", required=False)
    monkeypatch.setattr(doctor, "examine", lambda: [missing, optional])
    run = systolith("doctor")
    assert run.code == 1
    assert "missing: apt install perl" in run.out and "none: connect one" in run.out
    monkeypatch.setattr(doctor, "examine", lambda: [optional])
    assert systolith("doctor", "--json").json["complete"] is True


def test_isa(systolith):
    assert systolith("isa").out.startswith("# Instruction set, version ")
    assert {"instructions", "layouts", "engines"} <= set(systolith("isa", "--json").json)


@pytest.mark.parametrize("program", ["g++", "make", "perl", "openFPGALoader"])
def test_doctor_looks_on_path(monkeypatch, program):
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/opt/{name}")
    found = {finding.name: finding.found for finding in doctor.examine()
             if finding.name == program}
    assert found == {program: f"/opt/{program}"}


@pytest.mark.slow
def test_conformance_of_one_operator(systolith):
    result = systolith("conformance", "--operator", "Relu", "--json").json
    assert (result["passed"], result["failed"]) == (1, 0)
    assert [case["case"] for case in result["cases"]] == ["test_relu"]
    assert result["not_claimed"]["cases"] > 500
    assert "| Relu | 1 | 0 | 0 |" in systolith("conformance", "--operator", "Relu").out
    run = systolith("conformance", "--operator", "Sin")
    assert run.code == 2 and "no case of Sin" in run.err
