"""What a build came to: clock, resources and the critical path, read from the tools' own files."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from systolith.boards.errors import BoardError
from systolith.boards.target import Target

__all__ = ["CriticalPath", "Report", "Usage", "read_report"]


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a resource is used, of how much there is."""

    used: int
    available: int


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The slowest path of the core clock. Times in nanoseconds."""

    source: str
    sink: str
    logic_ns: float
    routing_ns: float
    #: Cells the path goes through between its registers.
    levels: int

    def describe(self) -> str:
        """Return the path as a sentence."""
        return (f"from {self.source} to {self.sink}: {self.logic_ns + self.routing_ns:.1f} ns, "
                f"{self.logic_ns:.1f} in cells ({self.levels} between the registers) and "
                f"{self.routing_ns:.1f} in wires")


@dataclass(slots=True, kw_only=True)
class Report:
    """What a build came to."""

    target: str
    seed: int
    fmax_mhz: float
    constraint_mhz: float
    #: Multiply-accumulates of the array each cycle.
    macs: int
    usage: dict[str, Usage]
    critical_path: CriticalPath
    build_hash: int = 0
    seconds: float = 0.0
    #: None if timing was not met.
    bitstream: Path | None = None

    @property
    def timing_met(self) -> bool:
        """Whether the core clock's constraint is met."""
        return self.fmax_mhz >= self.constraint_mhz

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form; every resource stands at the top level."""
        return {
            "target": self.target, "fmax_mhz": round(self.fmax_mhz, 2),
            "constraint_mhz": round(self.constraint_mhz, 2), "timing_met": self.timing_met,
            "macs": self.macs, **{name: usage.used for name, usage in self.usage.items()},
            "available": {name: usage.available for name, usage in self.usage.items()},
            "critical_path": asdict(self.critical_path), "seed": self.seed,
            "build_hash": f"{self.build_hash:08x}", "seconds": round(self.seconds, 1),
            "bitstream": None if self.bitstream is None else str(self.bitstream),
        }


def read_report(target: Target, directory: Path, seed: int) -> Report:
    """Read what synthesis (``cells.json``) and place and route (``report.json``) wrote.

    Raises
    ------
    BoardError
        If a file is unreadable or does not name the core clock.
    """
    routed, cells = _read(directory / "report.json"), _read(directory / "cells.json")
    clock = _core_clock(routed["fmax"], target.routed_hz / 1e6)
    return Report(
        target=target.name, seed=seed, macs=target.config.multipliers,
        fmax_mhz=routed["fmax"][clock]["achieved"], constraint_mhz=target.clock_hz / 1e6,
        usage=_usage(target, routed["utilization"], cells["design"]["num_cells_by_type"]),
        critical_path=_critical_path(routed["critical_paths"], clock),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BoardError(f"{path}: no readable report of the build: {error}") from error


def _core_clock(fmax: dict[str, dict[str, float]], constraint_mhz: float) -> str:
    """Return the name of the clock with this constraint; of several, the slowest."""
    clocks = [name for name, clock in fmax.items()
              if abs(clock["constraint"] / constraint_mhz - 1) < 0.005]
    if not clocks:
        raise BoardError(f"place and route timed no clock of {constraint_mhz:g} MHz, only: "
                         + (", ".join(fmax) or "none"))
    return min(clocks, key=lambda name: fmax[name]["achieved"])


def _usage(target: Target, utilization: dict[str, dict[str, int]],
           cells: dict[str, int]) -> dict[str, Usage]:
    usage = {}
    for name, primitive in target.toolchain.resources.items():
        used, available = (utilization.get(primitive, {}).get(key, 0)
                           for key in ("used", "available"))
        prefix = target.toolchain.cells.get(name)
        if prefix is not None:
            used = sum(count for cell, count in cells.items() if cell.startswith(prefix))
        usage[name] = Usage(used, available)
    return usage


def _critical_path(paths: list[dict[str, Any]], clock: str) -> CriticalPath:
    """Return the path of the report that begins and ends in ``clock``."""
    for path in paths:
        if path["from"].endswith(clock) and path["to"].endswith(clock):
            steps = path["path"]
            routing = sum(step["delay"] for step in steps if step["type"] == "routing")
            total = sum(step["delay"] for step in steps)
            return CriticalPath(
                source=_component(steps[0]["from"]["cell"]),
                sink=_component(steps[-1]["to"]["cell"]),
                logic_ns=round(total - routing, 3), routing_ns=round(routing, 3),
                levels=sum(step["type"] == "logic" for step in steps))
    raise BoardError(f"the report of place and route has no path of clock {clock}")


#: What Yosys appends to a signal's name when it names a cell after it.
_CELL_SUFFIX = re.compile(r"(_(TRELLIS|LUT4|PFUMX|L6MUX21|CCU2C|DP16KD|MULT18X18D|SB)_?\w*)+$")


def _component(cell: str) -> str:
    """Return the signal or component a cell was named after, as a path of the design."""
    return _CELL_SUFFIX.sub("", cell.split("$")[0]) or cell
