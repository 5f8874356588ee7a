"""The host's link against the whole accelerator in cocotb, with gaps and backpressure."""

import json

import pytest

from systolith.hw.config import Config
from systolith.hw.top import Accelerator
from systolith.sim.cocotb_runner import run_bench

BASE = {"rows": 4, "columns": 4, "post_lanes": 4, "banks": 2, "bank_words": 64,
        "accumulator_depth": 16, "program_words": 64, "frame_bytes": 64}


@pytest.mark.slow
@pytest.mark.parametrize("config", [
    Config(name="int8", **BASE),
    Config(name="int16", operand_bits=16, **BASE),
], ids=lambda config: config.name)
def test_link(tmp_path, config):
    count = run_bench(Accelerator(config), "systolith.sim.benches.link", folder=tmp_path, seed=1,
                      settings={"SYSTOLITH_CONFIG": json.dumps(config.to_json())})
    assert count == 4
