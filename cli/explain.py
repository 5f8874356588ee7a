"""``systolith explain``: where every operator of a model runs, why, and what it costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    from systolith.hw.config import Config
    from systolith.sw.explain import Explanation

__all__ = ["EXAMPLE", "command"]

#: Nodes that are left out of the table where they are but scales between operators.
_CODING = ("QuantizeLinear", "DequantizeLinear")

EXAMPLE = "Example: systolith explain examples/lenet/lenet_int8.onnx --target ulx3s-85f"


def command(
    model: Annotated[Path, typer.Argument(
        help="The network, an .onnx or .tflite file, or a compiled program, .sth.")],
    target: Annotated[str | None, typer.Option(
        "--target", "-t", help="Name of a board, or a configuration as a .json file; a compiled "
                               "program has its own.")] = None,
    calibrate: Annotated[Path | None, typer.Option(
        help="Typical inputs that quantise a float model: .npy, batch first, in the model's own "
             "layout. Noise, if left out.")] = None,
    as_json: Json = False,
) -> int:
    """Explain what a model becomes on a target, or what stands in its way.

    The exit code is 0 if it runs, else that of compile: 2 for operators that cannot be mapped,
    4 if it does not fit.
    """
    from systolith.boards.targets import find_config
    from systolith.cli.arrays import read_array
    from systolith.sw.explain import explain, explain_program
    from systolith.sw.pipeline import load_program

    out = Output(as_json)
    if model.suffix.lower() == ".sth":
        if target is not None or calibrate is not None:
            raise typer.BadParameter("a compiled program has its target and numbers: leave "
                                     "--target and --calibrate out")
        found, fitting = explain_program(load_program(model), str(model)), []
    elif target is None:
        raise typer.BadParameter("which target? --target NAME; systolith targets lists them")
    else:
        config = find_config(target)
        calibration = None if calibrate is None else read_array(calibrate)
        with out.log.status(f"explaining {model}"):
            found = explain(model, config, calibration)
            fitting = _fitting(model, config, calibration) if found.exit_code == 4 else []
    _print(out, found, fitting)
    out.result(asdict(found) | {"runs": found.runs, "fitting_targets": fitting})
    return found.exit_code


def _fitting(model: Path, config: "Config", calibration: object) -> list[str]:
    """Return the other boards that the model fits."""
    from systolith.boards.targets import TARGETS
    from systolith.sw.explain import explain

    return [name for name, target in TARGETS.items() if target.config.hash != config.hash
            and explain(model, target.config, calibration).runs]


def _print(out: Output, found: "Explanation", fitting: list[str]) -> None:
    numbers = ("cycles", "share", "of peak", "bytes")
    table = out.table("node", "operator", "runs", *numbers, "why", numbers=numbers)
    shown = [row for row in found.operators if row.place != "constant" and (
        row.operator not in _CODING or row.place in ("host", "blocked"))]
    for row in shown:
        costs = ["", "", ""] if row.cycles is None else [
            f"{row.cycles:,}", f"{row.share:.1%}", f"{row.utilization:.1%}"]
        size = "" if row.constant_bytes is None else f"{row.constant_bytes:,}"
        table.add_row(row.name, row.operator, str(row.place), *costs, size, row.why)
    out.say(table)
    if len(shown) < len(found.operators):
        out.say(f"Free     {len(found.operators) - len(shown)} more nodes of constants and scales")
    for memory in found.memory:
        needed = memory.constant_bytes + memory.map_bytes
        most = f" (most in {memory.largest_constants!r})" if memory.largest_constants else ""
        where = f" (at {memory.worst_step!r})" if memory.worst_step else ""
        out.say(f"Memory   {memory.constant_bytes:,} bytes of weights and parameters{most}, "
                f"{memory.map_bytes:,} of maps{where}: {needed:,} of {memory.available_bytes:,}")
    for note in found.notes:
        out.say(f"Note     {note}")
    if found.runs:
        programs = "one program" if found.segments == 1 else f"{found.segments} programs"
        out.say(f"Runs     on {found.target} in {found.cycles:,} cycles, {programs}")
        return
    out.say(f"Does not run on {found.target}:")
    for problem in found.problems:
        out.say(f"  {problem.node!r} ({problem.operator}): {problem.reason}; {problem.advice}")
    for shortage in found.shortages:
        out.say(f"  {shortage}")
    if found.exit_code == 4:
        out.say(f"  It runs on {', '.join(fitting)}." if fitting else
                "  It runs on none of the other targets.")
