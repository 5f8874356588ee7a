"""List what is late after place and route on ECP5, in groups: what drives it, and where it arrives.

    nextpnr-ecp5 ... --report report.json --detailed-timing-report
    python bench/late_paths.py report.json --ns 8

Options as in the log of ``systolith build``; without ``--tmg-ripup`` it shows what the router would
have to mend. The critical path alone is one of these groups.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

#: Ports at which a path ends: of flip-flops, block RAMs and multipliers.
_FLIP_FLOP = frozenset(("DI", "M", "CE", "LSR"))
_BLOCK = re.compile(r"\.ebr\d+$|_mult18$")
#: What synthesis and nextpnr append to a signal's name.
_SUFFIX = re.compile(r"(_TRELLIS_FF|_LUT4|_CCU2C|_PFUMX|_L6MUX|\$).*")


def group(cell: str) -> str:
    """Return the signal a cell belongs to, without its number: bits and lanes are one group."""
    return re.sub(r"\d+", "#", _SUFFIX.sub("", cell.replace("accelerator.accelerator.", "")))


def late_groups(report: dict, limit_ns: float) -> list[tuple[float, int, str, str]]:
    """Return latest arrival, number, driver and end of each group, the latest first."""
    arrivals = defaultdict(list)
    for net in report["detailed_net_timings"]:
        for end in net["endpoints"]:
            cell, port, (_, latest) = end["cell"], end["port"], end["delay"]
            ends = _BLOCK.search(cell) or "_TRELLIS_FF" in cell and port in _FLIP_FLOP
            if ends and latest > limit_ns:
                arrivals[group(net["driver"]), f"{group(cell)}.{port}"].append(latest)
    return sorted(((max(times), len(times), driver, end)
                   for (driver, end), times in arrivals.items()), reverse=True)


def main() -> None:
    """Print the groups of a report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, help="nextpnr's report.json")
    parser.add_argument("--ns", type=float, default=8.0, help="a path that takes longer is late")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    groups = late_groups(report, arguments.ns)
    print(f"{sum(number for _, number, _, _ in groups)} registers in {len(groups)} groups are "
          f"reached later than {arguments.ns:g} ns")
    for latest, number, driver, end in groups:
        print(f"{latest:6.2f} ns {number:5d}  {driver} -> {end}")


if __name__ == "__main__":
    main()
