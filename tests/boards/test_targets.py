import json

import pytest

from systolith.boards.build import rtl_files
from systolith.boards.errors import BoardError
from systolith.boards.targets import TARGETS, find_config, find_target
from systolith.hw.config import Config
from systolith.hw.link.uart import phase_step
from systolith.sw.device import BAUDS

#: Pins of clock, link in, link out and reset, and the PLL.
PINS = {
    "ulx3s-85f": (("clk25", "G2"), "M1", "L4", ("button_pwr", "D6"), "EHXPLLL"),
    "ulx3s-85f-mixed": (("clk25", "G2"), "M1", "L4", ("button_pwr", "D6"), "EHXPLLL"),
    "ulx3s-85f-train": (("clk25", "G2"), "M1", "L4", ("button_pwr", "D6"), "EHXPLLL"),
    "ecpix5-85f": (("clk100", "K23"), "R26", "R24", ("rst", "AB1"), "EHXPLLL"),
    "tang-nano-20k": (("clk27", "4"), "70", "69", ("button", "88"), "rPLL"),
    "orangecrab-25f": (("clk", "A9"), "N17", "M18", ("button", "J17"), "EHXPLLL"),
    "colorlight-i5": (("clk25", "P3"), "H18", "J17", ("button", "K18"), "EHXPLLL"),
    "icebreaker": (("clk12", "35"), "6", "9", ("button", "10"), "SB_PLL40_PAD"),
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_board_elaborates_onto_its_pins(target, stand_in):
    clock, rx, tx, reset, pll = PINS[target.name]
    pins = {"uart_0__rx__io": rx, "uart_0__tx__io": tx,
            **{f"{name}_0__io": pin for name, pin in (clock, reset)}}
    files = rtl_files(target, stand_in(target, 0))
    constraints = "".join(files[name] for name in target.toolchain.constraints)
    for port, pin in pins.items():
        assert any(port in line and pin in line.replace('"', "").replace(";", "").split()
                   for line in constraints.splitlines()), port
    assert "attribute \\src" not in files["top.il"], "a path of this machine is in the design"
    assert f"\\{pll}" in files["top.il"]
    assert set(target.leds) <= {"busy", "fault", "activity"}


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_every_board_can_make_its_baud_rate(target):
    phase_step(target.clock_hz, target.baud)
    assert target.baud in BAUDS, "serial:PORT would not find it"


def test_the_boards_meet_what_the_project_promises():
    ulx3s, icebreaker = find_target("ulx3s-85f"), find_target("icebreaker")
    assert ulx3s.config.multipliers == 128 and ulx3s.config.post_lanes == 8
    assert ulx3s.clock_hz >= 125e6 and ulx3s.baud == 3_000_000
    assert icebreaker.config.multipliers == 16 and icebreaker.clock_hz >= 24e6


def test_find_target_lists_the_targets():
    with pytest.raises(BoardError, match="no target 'ulx4s'; there are: ulx3s-85f, .*icebreaker"):
        find_target("ulx4s")


def test_find_config_by_name_and_by_file(tmp_path):
    config = Config(name="mine", rows=9, columns=3, post_lanes=3)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config.to_json()))
    assert find_config(str(path)) == config
    assert find_config("icebreaker") is TARGETS["icebreaker"].config


@pytest.mark.parametrize("text,message", [
    ("{", "not a JSON file"),
    ("[]", "a configuration is a JSON object, not list"),
    ('{"row": 3}', "unknown configuration field 'row'"),
    ('{"rows": "3"}', "rows must be int, not '3'"),
    ('{"rows": 99}', "rows must be 2 to 32, not 99"),
])
def test_find_config_names_file_and_fault(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(BoardError, match=message) as caught:
        find_config(str(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name,message", [
    ("ulx4s", "or give a configuration as a .json file"),
    ("/nowhere/x.json", "/nowhere/x.json: no such configuration file"),
])
def test_find_config_of_nothing(name, message):
    with pytest.raises(BoardError, match=message):
        find_config(name)
