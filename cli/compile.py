"""``systolith compile``: a network to a program."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    from systolith.sw.pipeline import Pipeline
    from systolith.sw.program import Program

__all__ = ["EXAMPLE", "Divide", "command", "describe", "segments", "utilization"]

EXAMPLE = ("Example: systolith compile examples/lenet/lenet_int8.onnx --target ulx3s-85f "
           "-o lenet.sth")


Divide = Annotated[bool, typer.Option(
    "--divide", help="Make several programs of what memory cannot hold. A batch goes through one "
                     "after the other, and each loads its weights anew.")]


def command(
    model: Annotated[Path, typer.Argument(help="The network, an .onnx or .tflite file.")],
    target: Annotated[str, typer.Option(
        "--target", "-t", help="Name of a board, or a configuration as a .json file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The program to write, .sth.")],
    batch: Annotated[int, typer.Option(
        min=1, help="Images that a job takes: fully connected layers then serve all of them with "
                    "the weights they load.")] = 1,
    calibrate: Annotated[Path | None, typer.Option(
        help="Typical inputs that quantise a float model: .npy, batch first, in the model's own "
             "layout.")] = None,
    divide: Divide = False,
    as_json: Json = False,
) -> None:
    """Compile an ONNX or TFLite network for a target."""
    from systolith.boards.targets import find_config
    from systolith.cli.arrays import read_array
    from systolith.sw.files import replacing
    from systolith.sw.importer.load import load_model
    from systolith.sw.partition import compile_network

    out = Output(as_json)
    config = find_config(target)
    calibration = None if calibrate is None else read_array(calibrate)
    with out.log.status(f"compiling {model}"):
        program = compile_network(load_model(model, calibration), config, batch, divide)
    with replacing(output) as temporary:
        temporary.write_bytes(program.to_bytes())
    _print(out, program)
    out.say(f"{output}: {output.stat().st_size} bytes for {config.describe()}")
    out.result(describe(program) | {"program": str(output)})


def utilization(program: "Program | Pipeline", cycles: float) -> float:
    """Return the share of the array's multiply-accumulates that an image in ``cycles`` used."""
    macs = sum(layer.macs for layer in program.layers) / program.batch
    return macs / (program.config.multipliers * cycles) if cycles else 0.0


def segments(count: int) -> list[str]:
    """Return what is to be said of the programs of a network, nothing of a single one."""
    if count == 0:
        return ["Segments no program: the host does everything"]
    return [] if count == 1 else [
        f"Segments {count} programs, one after the other; below the largest of them"]


def describe(program: "Program | Pipeline") -> dict[str, Any]:
    """Return what a program's job costs, as data; memory is that of the fullest segment."""
    config = program.config

    def most(costs: Iterable[int]) -> int:
        return max(costs, default=0)

    return {
        "macs": sum(layer.macs for layer in program.layers),
        "cycles": program.predicted_cycles,
        "batch": program.batch, "cycles_per_image": program.cycles_per_image,
        "utilization": round(utilization(program, program.cycles_per_image), 4),
        "layers": [{"name": layer.name, "op": layer.op, "macs": layer.macs,
                    "cycles": layer.cycles} for layer in program.layers],
        "memory": {
            "constants": most(part.constant_elements for part in program.programs),
            "maps": most(part.map_elements for part in program.programs),
            "available": config.memory_elements,
            "program_words": most(len(part.words) for part in program.programs),
            "program_words_available": config.program_words,
        },
        "segments": len(program.programs), "config_hash": f"{config.hash:08x}",
    }


def _print(out: Output, program: "Program | Pipeline") -> None:
    multipliers = program.config.multipliers
    numbers = ("MACs", "cycles", "of peak")
    table = out.table("layer", "operator", *numbers, numbers=numbers)
    for layer in program.layers:
        share = layer.macs / (multipliers * max(1, layer.cycles))
        table.add_row(layer.name, layer.op, f"{layer.macs:,}", f"{layer.cycles:,}", f"{share:.1%}")
    data = describe(program)
    table.add_section()
    table.add_row("sum", "", f"{data['macs']:,}", f"{data['cycles']:,}",
                  f"{data['utilization']:.1%}")
    memory = data["memory"]
    out.say(table)
    if program.batch > 1:
        out.say(f"Batch    {program.batch} images a job, {program.cycles_per_image:,.0f} cycles "
                "an image")
    for line in segments(data["segments"]):
        out.say(line)
    if not data["segments"]:
        return
    out.say(f"Memory   {memory['constants']:,} elements of weights and parameters, "
            f"{memory['maps']:,} of feature maps, {memory['available']:,} there are")
    out.say(f"Program  {memory['program_words']:,} of {memory['program_words_available']:,} words")
