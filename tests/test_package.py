"""The guards of the project's shape: packaging, direction of dependencies, documentation."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WINGS = ("hw", "sw", "sim", "boards", "cli", "examples")
#: What each wing may import of the others; an entry with a dot allows that module alone.
ALLOWED = {
    "hw": (),
    "sw": ("hw.config", "hw.exp2", "hw.isa", "hw.latency", "hw.link.protocol"),
    "sim": ("hw", "sw"),
    "boards": ("hw",),
    "cli": ("hw", "sw", "sim", "boards", "examples"),
    "examples": ("hw.config", "sw", "sim", "boards"),
}
#: Modules that tests cannot import: they run inside the RTL simulator, or need PyTorch.
ELSEWHERE = ("systolith.sim.benches", "systolith.examples.training",
             "systolith.examples.from_pytorch")
#: Files that are run, not imported.
SCRIPTS = ("train.py", "make.py")


def _files(wing):
    return sorted(path for path in (ROOT / wing).rglob("*.py")
                  if "__pycache__" not in path.parts and path.name not in SCRIPTS)


def _module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("systolith", *(part for part in parts if part != "__init__")))


FILES = [path for wing in WINGS for path in _files(wing)]
MODULES = [_module(path) for path in FILES]
IMPORTABLE = [name for name in MODULES if not name.startswith(ELSEWHERE)]


def test_every_wing_has_files():
    assert all(_files(wing) for wing in WINGS)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_found_in_the_package(name):
    spec = importlib.util.find_spec(name)
    assert spec is not None, "the links in src/systolith are missing: clone with symbolic links"


@pytest.mark.parametrize("name", IMPORTABLE)
def test_every_public_name_exists(name):
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert sorted(set(public)) == sorted(public)
    assert [attribute for attribute in public if not hasattr(module, attribute)] == []


@pytest.mark.parametrize("name", IMPORTABLE)
def test_public_classes_and_functions_say_what_they_are(name):
    module = importlib.import_module(name)
    assert module.__doc__ or name in ("systolith.hw", "systolith.sw", "systolith.sim")
    for attribute in getattr(module, "__all__", []):
        thing = getattr(module, attribute)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            # Not inspect.getdoc: an inherited docstring describes another class.
            assert thing.__doc__, f"{name}.{attribute} has no docstring"


def _imports(path):
    """Yield (line, dotted name after ``systolith.``) of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            names = [node.module]
            if node.module == "systolith" or node.module.removeprefix("systolith.") in WINGS:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            assert name.partition(".")[0] not in WINGS, f"{path}:{node.lineno}: systolith.{name}"
            if name.startswith("systolith."):
                yield node.lineno, name.removeprefix("systolith.")


def _may_import(wing, name):
    return any(name == allowed or name.startswith(f"{allowed}.")
               for allowed in (wing, *ALLOWED[wing]))


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_dependencies_point_one_way(path):
    wing = path.relative_to(ROOT).parts[0]
    for line, name in _imports(path):
        if name.partition(".")[0] in WINGS:
            assert _may_import(wing, name), f"{path}:{line}: {wing} may not import {name}"


@pytest.mark.parametrize("wing,name,allowed", [
    ("sw", "hw.config", True), ("sw", "hw.configuration", False), ("sw", "sim.golden", False),
    ("hw", "sw.ir", False), ("boards", "sw.errors", False), ("cli", "sim.golden", True),
])
def test_the_guard_itself(wing, name, allowed):
    assert _may_import(wing, name) is allowed


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_the_package_names_what_a_trainer_needs():
    package = importlib.import_module("systolith.train")
    assert all(inspect.getdoc(getattr(package, name)) for name in package.__all__)
