"""Synthesise one block alone and say what it costs and how fast it is.

    python bench/block_synthesis.py array --target ulx3s-85f --mhz 150
    python bench/block_synthesis.py array --set rows=4 --set columns=4 --set multiplier=lut

The block stands in the place of the accelerator, between registers only: its inputs are one long
chain of registers, each the parity of the two before it, and its outputs are folded into one bit,
a register after every four. What that costs is part of the figures: a flip-flop and a LUT for
each input bit, and for each output bit one and a third flip-flops and a third of a LUT. The
inputs are no plain shift register because Yosys would merge the block's own delays with it.
"""

import argparse
import dataclasses
import json
import sys
from functools import reduce
from operator import xor
from pathlib import Path

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.boards.build import build
from systolith.boards.errors import BoardError
from systolith.boards.report import Report
from systolith.boards.targets import find_target
from systolith.hw.accumulator import AccumulatorStores
from systolith.hw.array import SystolicArray
from systolith.hw.cluster_array import ClusterArray
from systolith.hw.config import Config, ConfigError
from systolith.hw.controller import Indicators
from systolith.hw.core import readers
from systolith.hw.latency import array_latency
from systolith.hw.memory import UnifiedMemory
from systolith.hw.requantize import Requantize
from systolith.hw.softmax import Softmax
from systolith.hw.stream import StreamEngine
from systolith.hw.training_lanes import TrainingLanes
from systolith.hw.window import Window

BLOCKS = {
    "array": lambda config: ClusterArray(config) if config.clustered else SystolicArray(config),
    "accumulators": lambda config: AccumulatorStores(
        config, latency=array_latency(config)),
    "requantizer": Requantize,
    "memory": lambda config: UnifiedMemory(config, readers(config)),
    "stream": StreamEngine,
    "softmax": lambda config: Softmax(),
    "training-lanes": TrainingLanes,
    "window": Window,
}


class Harness(wiring.Component):
    """A block with its inputs driven from ``rx`` and its outputs folded into ``tx``."""

    reset: In(1)
    rx: In(1)
    tx: Out(1)
    indicators: Out(Indicators)

    def __init__(self, block: wiring.Component):
        self.block = block
        super().__init__()

    def elaborate(self, platform) -> Module:
        """Wire the block up."""
        m = Module()
        m.submodules.block = block = self.block
        before, last, outputs = Const(0), self.rx, []
        for path, member, value in block.signature.flatten(block):
            value = Value.cast(value)
            if member.flow == Out:
                outputs.append(value)
                continue
            driven = Signal(len(value), name="in_" + "_".join(map(str, path)), reset_less=True)
            for bit in range(len(driven)):
                m.d.sync += driven[bit].eq(before ^ last)
                before, last = last, driven[bit]
            m.d.comb += value.eq(driven)
        m.d.comb += self.tx.eq(self._fold(m, [bit for value in outputs for bit in value]))
        return m

    @staticmethod
    def _fold(m: Module, bits: list) -> Signal:
        """Return the parity of registered bits, four at a time."""
        level = [Signal(name=f"out{i}") for i in range(len(bits))]
        m.d.sync += [signal.eq(bit) for signal, bit in zip(level, bits, strict=True)]
        while len(level) > 1:
            parities = [reduce(xor, level[i:i + 4]) for i in range(0, len(level), 4)]
            level = [Signal(name=f"fold{len(parities)}_{i}") for i in range(len(parities))]
            m.d.sync += [signal.eq(bit) for signal, bit in zip(level, parities, strict=True)]
        return level[0]


def changed(config: Config, changes: list[str]) -> Config:
    """Return ``config`` with the fields of ``name=value`` changed; ``ConfigError`` if it cannot."""
    fields = config.to_json()
    for change in changes:
        name, _, value = change.partition("=")
        try:
            fields[name] = json.loads(value)
        except json.JSONDecodeError:
            fields[name] = value
    return Config.from_json(fields)


def describe(name: str, report: Report) -> str:
    """Return the result in two lines."""
    used = {resource: usage.used for resource, usage in report.usage.items()}
    each = f", {used['lut'] / report.macs:.1f} LUT a multiplier" if name == "array" else ""
    counts = ", ".join(f"{count} {resource.upper()}" for resource, count in used.items())
    return (f"{name}: {counts}{each}; {report.fmax_mhz:.1f} MHz\n"
            f"slowest {report.critical_path.describe()}")


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("block", choices=BLOCKS)
    parser.add_argument("--target", default="ulx3s-85f", help="board whose configuration to use")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="changes",
                        help="change a field of it, for example multiplier=lut")
    parser.add_argument("--mhz", type=float, default=150, help="clock to aim at")
    parser.add_argument("--seed", type=int, default=1, help="seed of the placer")
    parser.add_argument("--folder", type=Path, default=Path("build/blocks"))
    options = parser.parse_args()
    try:
        target = find_target(options.target)
        target = dataclasses.replace(target, clock_hz=int(options.mhz * 1e6),
                                     config=changed(target.config, options.changes))
        report = build(target, options.folder / f"{options.block}-{target.name}",
                       seeds=range(options.seed, options.seed + 1),
                       accelerator=lambda target, _: Harness(BLOCKS[options.block](target.config)))
    except (BoardError, ConfigError) as error:
        print(f"block_synthesis: {error}", file=sys.stderr)
        return 1
    print(describe(options.block, report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
