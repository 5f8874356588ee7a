import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench/late_paths.py"


def net(driver, *ends):
    return {"driver": driver, "net": "n", "port": "F", "endpoints": [
        {"cell": cell, "port": port, "delay": [1.0, latest]} for cell, port, latest in ends]}


def test_late_registers_in_groups(tmp_path):
    core = "accelerator.accelerator.core"
    report = {"detailed_net_timings": [
        net(f"{core}.post.go_LUT4_Z", (f"{core}.post.acc3_TRELLIS_FF_Q_1", "CE", 8.5),
            (f"{core}.post.acc4_TRELLIS_FF_Q", "CE", 8.7), (f"{core}.post.acc4_LUT4_A", "A", 9.0),
            (f"{core}.post.acc5_TRELLIS_FF_Q", "CE", 7.9)),
        net(f"{core}.load.at_TRELLIS_FF_Q_2", (f"{core}.memory.bank0.lane1.ebr0", "ADA3", 8.1)),
        net(f"{core}.a_LUT4_Z", (f"{core}.a_TRELLIS_FF_Q", "CLK", 9.9)),
    ]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    out = subprocess.run([sys.executable, SCRIPT, tmp_path / "report.json", "--ns", "8"],
                         capture_output=True, text=True, check=True).stdout.splitlines()
    assert out == [
        "3 registers in 2 groups are reached later than 8 ns",
        "  8.70 ns     2  core.post.go -> core.post.acc#.CE",
        "  8.10 ns     1  core.load.at -> core.memory.bank#.lane#.ebr#.ADA3",
    ]
