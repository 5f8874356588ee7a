"""cocotb benches: they run inside the simulator, started by :mod:`systolith.sim.cocotb_runner`."""
