"""From RTL to a bitstream: Yosys, nextpnr and the packer, with a report at the end."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from amaranth.lib import wiring

from systolith.boards.errors import BoardError
from systolith.boards.floorplan import floorplan
from systolith.boards.process import Progress, run_tool
from systolith.boards.report import Report, read_report
from systolith.boards.router import OutOfReach, Watch
from systolith.boards.rtlil import PLACEHOLDER, prepare, stamp
from systolith.boards.target import Target
from systolith.boards.tools import Tool, find_tool
from systolith.boards.top import BoardTop

__all__ = ["Progress", "build", "default_accelerator", "rtl_files"]

#: Longest place and route.
ROUTE_SECONDS = 3600

#: Makes the accelerator of a target, with a build hash.
Accelerator = Callable[[Target, int], wiring.Component]


def default_accelerator(target: Target, build_hash: int) -> wiring.Component:
    """Return the accelerator a board carries: the whole engine behind its serial link."""
    from systolith.hw.top import UartAccelerator

    return UartAccelerator(target.config, clk_hz=target.clock_hz, baud=target.baud,
                           build_hash=build_hash)


def places(target: Target) -> dict[str, str]:
    """Return the places of the hard blocks of :func:`default_accelerator`."""
    sites = target.toolchain.sites
    return floorplan(target.config, sites, "accelerator.accelerator.core") if sites else {}


def rtl_files(target: Target, accelerator: wiring.Component) -> dict[str, str]:
    """Return the design and its pin constraints: file name -> content."""
    platform = target.platform()
    plan = platform.build(BoardTop(target, accelerator), "top", do_build=False, emit_src=False)
    return {"top.il": prepare(plan.files["top.il"]),
            **{name: plan.files[name] for name in target.toolchain.constraints}}


def build(target: Target, directory: Path, *, seeds: range = range(1, 2),
          progress: Progress = lambda step, line: None,
          accelerator: Accelerator = default_accelerator) -> Report:
    """Build a target's bitstream.

    Place and route is tried with one seed after the other until timing is met. If it never is, the
    report of the best try is returned and no bitstream is written. A seed whose router stands
    still is given up and has no report.

    Parameters
    ----------
    target : Target
        The board.
    directory : Path
        Where everything goes; it is made if need be.
    seeds : range
        Seeds of the placer, in the order they are tried.
    progress : callable
        Told about every line of the tools.
    accelerator : callable
        Makes the design from the target and a build hash.

    Raises
    ------
    BoardError
        If a tool is missing or fails: the design does not fit, or no seed can be routed.
    OSError
        If the directory cannot be written.
    """
    started = time.monotonic()
    tools = {name: find_tool(name) for name in target.toolchain.tools}
    directory.mkdir(parents=True, exist_ok=True)
    bitstream = directory / target.toolchain.bitstream
    bitstream.unlink(missing_ok=True)

    progress("rtl", "elaborating the design")
    script = target.toolchain.yosys_script(
        places(target) if accelerator is default_accelerator else {})
    files = rtl_files(target, accelerator(target, PLACEHOLDER))
    build_hash = _build_hash(target, script, files, tools)
    files |= {"top.il": stamp(files["top.il"], build_hash), "top.ys": script}
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8")

    def run(name: str, arguments: list[str], log: str | None = None,
            limit: float = float("inf"), progress: Progress = progress) -> None:
        run_tool(tools[name], arguments, directory, progress, log, limit)

    synthesis, route, pack = target.toolchain.tools
    # Its own log, because the ABC inside the WebAssembly Yosys leaves it without an output.
    run(synthesis, ["-q", "-L", "synthesis.log", "-s", "top.ys"], "synthesis.log")
    chain = target.toolchain
    if chain.amend or chain.settings:
        netlist = json.loads((directory / "top.json").read_text(encoding="utf-8"))
        if chain.amend:
            chain.amend(netlist)
        netlist["modules"]["top"]["settings"] = chain.settings
        (directory / "top.json").write_text(json.dumps(netlist), encoding="utf-8")

    def run_router(arguments: list[str]) -> None:
        watch = Watch()

        def read(step: str, line: str) -> None:
            progress(step, line)
            watch.read(line)

        run(route, arguments, limit=ROUTE_SECONDS, progress=read)

    report = _route(target, directory, seeds, run_router)
    report.build_hash = build_hash
    if report.timing_met:
        run(pack, list(target.toolchain.packer_arguments))
        report.bitstream = bitstream
    report.seconds = time.monotonic() - started
    (directory / "summary.json").write_text(json.dumps(report.to_json(), indent=2) + "\n",
                                            encoding="utf-8")
    return report


def _route(target: Target, directory: Path, seeds: range,
           run: Callable[[list[str]], None]) -> Report:
    """Place and route with each seed until timing is met; return the best try's report."""
    if not seeds:
        raise BoardError("no seed to try: give at least one")
    best: Report | None = None
    stood = []
    for seed in seeds:
        try:
            run(target.toolchain.route_arguments(seed))
        except OutOfReach as given_up:
            stood.append(f"seed {seed} stood at {given_up}")
            continue
        report = read_report(target, directory, seed)
        if best is None or report.fmax_mhz > best.fmax_mhz:
            best = report
        if report.timing_met:
            break
    if best is None:
        raise BoardError(f"{target.clock_hz / 1e6:g} MHz are out of the router's reach: "
                         f"{', '.join(stood)}; try others (--seed, --tries)")
    return best


def _build_hash(target: Target, script: str, files: dict[str, str],
                tools: dict[str, Tool]) -> int:
    """Return the 32-bit identity of a build: the design, the commands and the tools' versions."""
    chain = target.toolchain
    identity = [sorted(files.items()), script, chain.amend and chain.amend.__name__,
                *([sorted(chain.settings.items())] if chain.settings else []),
                chain.route_arguments(0),
                chain.packer_arguments, sorted(tool.version() for tool in tools.values())]
    digest = hashlib.sha256(json.dumps(identity).encode()).digest()
    return int.from_bytes(digest[:4], "little")
