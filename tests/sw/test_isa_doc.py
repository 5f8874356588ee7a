from pathlib import Path

import pytest
from amaranth.lib import data

from systolith.hw.isa import (
    Engine,
    Loop,
    SetHeader,
    StreamControl,
    decode,
    encode,
    engine_registers,
)
from systolith.sw.isa_doc import FIELDS, fields_of, isa_data, isa_text

MANUAL = Path(__file__).parents[2] / "docs" / "isa.md"


def test_the_manual_is_up_to_date():
    assert MANUAL.read_text(encoding="utf-8") == isa_text(), "run: make docs"


def test_every_register_layout_is_documented():
    used = {register.layout for engine in Engine
            for register in engine_registers(engine, training=True)}
    assert used <= set(FIELDS)


@pytest.mark.parametrize("layout", FIELDS, ids=lambda layout: layout.__name__)
def test_every_field_has_a_meaning_and_every_meaning_a_field(layout):
    names = {name for name, _ in data.Layout.cast(layout)}
    assert names - {"reserved"} == set(FIELDS[layout])


@pytest.mark.parametrize("layout", FIELDS, ids=lambda layout: layout.__name__)
def test_the_bits_are_those_of_the_encoder(layout):
    covered = 0
    for name, low, high, kind in fields_of(layout):
        value = -1 if kind == "signed" else 1
        if name not in ("op", "engine", "relocate", "wait_engine"):
            word = encode(layout, **{name: value})
            assert word == ((1 << high + 1) - (1 << low) if value == -1 else 1 << low)
            assert decode(layout, word)[name] == value
        covered += high - low + 1
    assert covered == 32


def test_data_and_text_name_the_same_registers():
    data_, text = isa_data(), isa_text()
    for registers in (*data_["engines"].values(), data_["registers"]):
        assert [register["number"] for register in registers] == list(range(len(registers)))
        for register in registers:
            assert f"| {register['number']} | `{register['name']}` |" in text


def test_field_types():
    assert {name: kind for name, _, _, kind in fields_of(Loop)} == {
        "last": "unsigned", "acc_jump": "signed"}
    assert next(fields_of(SetHeader)) == ("op", 0, 1, "0 END 1 SET 2 GO")
    assert ("keep", 18, 18, "unsigned") in set(fields_of(StreamControl))
