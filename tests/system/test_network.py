"""Whole networks in cocotb: the driver, the link and the RTL against the golden model."""

import numpy as np
import pytest

from systolith.hw.config import Config
from systolith.hw.top import Accelerator
from systolith.sim import golden
from systolith.sim.cocotb_runner import run_bench
from systolith.sw.compiler import compile_graph
from tests.networks import random_graph

BASE = {"banks": 3, "bank_words": 512, "accumulator_depth": 64, "frame_bytes": 64}
CONFIGS = {
    "window": Config(rows=9, columns=4, post_lanes=2, window=True, window_width=32, **BASE),
    "small": Config(rows=4, columns=2, post_lanes=1, bank_ports="single", alignment=2,
                    prefetch_descriptors=False, multiplier_stages=3, fifo_depth=8, **BASE),
    "shallow": Config(rows=4, columns=2, post_lanes=1, bank_ports="single", alignment=2,
                      residual=False, prefetch_descriptors=False, pipelining="shallow",
                      multiplier_stages=2, fifo_depth=8, **BASE),
}


@pytest.mark.slow
@pytest.mark.parametrize("kinds, seed", [
    (("conv", "depthwise", "max", "dense", "add"), 5),
    (("conv", "transposed", "select", "concat"), 6)], ids=["usual", "placed"])
@pytest.mark.parametrize("name", CONFIGS)
def test_random_network(tmp_path, name, kinds, seed):
    config = CONFIGS[name]
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in kinds if kind != "add" or config.residual]
    graph = random_graph(rng, kinds=kinds, layers=5 if "max" in kinds else 3, size=8, channels=6)
    program = compile_graph(graph, config)
    shape = graph.inputs[0].shape
    x = rng.integers(-128, 128, (3, *shape)).astype(np.int8)
    program.save(tmp_path / "program.sth")
    np.savez(tmp_path / "case.npz", x=x, y=golden.run_model(graph, x)[0],
             cycles=program.predicted_cycles)
    count = run_bench(Accelerator(config), "systolith.sim.benches.network", folder=tmp_path,
                      seed=1, settings={"SYSTOLITH_CASE": str(tmp_path)})
    assert count == 2
