"""The floorplan: every block has a place of its own, further right with the vector's element."""

import dataclasses
import re

import pytest

from systolith.boards.build import places
from systolith.boards.floorplan import ECP5_85F_SITES, floorplan
from systolith.boards.targets import find_target

CONFIG = find_target("ulx3s-85f").config


def x_of(site):
    return int(re.match(r"X(\d+)/", site)[1])


def test_the_chip_has_the_blocks_of_its_data_sheet():
    multipliers = [site for row in ECP5_85F_SITES.multipliers for site in row]
    memories = [site for row in ECP5_85F_SITES.memories for site in row]
    assert (len(set(multipliers)), len(set(memories))) == (156, 208)
    assert all(row == tuple(sorted(row, key=x_of))
               for row in (*ECP5_85F_SITES.multipliers, *ECP5_85F_SITES.memories))


def test_each_block_has_its_own_place():
    plan = floorplan(CONFIG, ECP5_85F_SITES, "core")
    assert len(set(plan.values())) == len(plan)
    assert sum("array" in cell for cell in plan) == CONFIG.multipliers
    assert sum("requantize" in cell for cell in plan) == 3 * CONFIG.post_lanes
    assert sum("memory" in cell for cell in plan) == 2 * CONFIG.banks * CONFIG.lanes
    assert sum("stores" in cell for cell in plan) == 2 * CONFIG.columns


def test_array_rows_and_lanes_go_to_the_right():
    plan = floorplan(CONFIG, ECP5_85F_SITES, "core")
    for n in range(CONFIG.columns):
        rows = [x_of(plan[f"core.array.dsp_mac{n * CONFIG.rows + r}_mult18"])
                for r in range(CONFIG.rows)]
        assert rows == sorted(rows)
    for b in range(CONFIG.banks):
        lanes = [x_of(plan[f"core.memory.bank{b}.lane{lane}.ebr0"]) for lane in range(CONFIG.lanes)]
        assert lanes == sorted(lanes)


def test_wide_elements_and_sums_take_several_blocks():
    config = find_target("ulx3s-85f-train").config
    plan = floorplan(config, ECP5_85F_SITES, "core")
    assert len(set(plan.values())) == len(plan)
    assert sum("memory" in cell for cell in plan) == 2 * config.banks * config.lanes
    assert sum("stores" in cell for cell in plan) == 2 * 2 * config.columns
    assert len({plan[f"core.memory.bank0.lane3.ebr{i}"] for i in range(2)}) == 2


@pytest.mark.parametrize("target", ["ulx3s-85f", "ulx3s-85f-train"])
def test_a_lane_of_all_banks_is_a_stretch_of_a_row(target):
    config = find_target(target).config
    plan = floorplan(config, ECP5_85F_SITES, "core")
    for lane in range(config.lanes):
        sites = [site for cell, site in plan.items() if f".lane{lane}." in cell]
        row, = (row for row in ECP5_85F_SITES.memories if sites[0] in row)
        first = row.index(min(sites, key=row.index))
        assert sorted(sites, key=row.index) == list(row[first:first + len(sites)])


def test_of_a_mixed_array_the_dsps_have_places():
    config = find_target("ulx3s-85f-mixed").config
    plan = floorplan(config, ECP5_85F_SITES, "core")
    assert len(set(plan.values())) == len(plan)
    assert sum("array" in cell for cell in plan) == config.rows * config.dsp_columns
    assert sum("requantize" in cell for cell in plan) == 4 * config.post_lanes
    assert sum("memory" in cell for cell in plan) == 2 * config.banks * config.lanes
    right = [x_of(plan[f"core.array.dsp_mac0_{i}_0_mult18"]) for i in range(config.row_clusters)]
    assert right == sorted(right)


@pytest.mark.parametrize("changes", [
    {"multiplier": "lut"}, {"rows": 32, "columns": 32}, {"bank_words": 1024},
])
def test_what_does_not_fit_the_sites_is_left_to_the_placer(changes):
    plan = floorplan(dataclasses.replace(CONFIG, **changes), ECP5_85F_SITES, "core")
    assert len(set(plan.values())) == len(plan)
    assert not any("array" in cell for cell in plan) or "bank_words" in changes


def test_only_chips_whose_sites_are_known_are_planned():
    assert places(find_target("ulx3s-85f")) and places(find_target("ecpix5-85f"))
    assert not places(find_target("orangecrab-25f")) and not places(find_target("icebreaker"))
