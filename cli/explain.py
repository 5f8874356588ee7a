"""``systolith explain``: where every node of a model runs, or what keeps the model from running."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.compile import Divide, segments
from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    from systolith.sw.explain import Explanation, NodeReport

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith explain examples/lenet/lenet_int8.onnx --target ulx3s-85f"


def command(
    model: Annotated[Path, typer.Argument(help="The network, an .onnx or .tflite file.")],
    target: Annotated[str, typer.Option(
        "--target", "-t", help="Name of a board, or a configuration as a .json file.")],
    calibrate: Annotated[Path | None, typer.Option(
        help="Typical inputs that quantise a float model; see systolith compile.")] = None,
    divide: Divide = False,
    as_json: Json = False,
) -> None:
    """Tell where every node of a network runs, why and what it costs, or what blocks it."""
    from systolith.boards.targets import TARGETS, find_config
    from systolith.cli.arrays import read_array
    from systolith.sw.explain import explain_model

    out = Output(as_json)
    config = find_config(target)
    calibration = None if calibrate is None else read_array(calibrate)
    with out.log.status(f"compiling {model}"):
        explanation = explain_model(model, config, calibration, divide)
        fits = [] if explanation.runs else explanation.fits(
            {name: other.config for name, other in TARGETS.items()
             if name != target and not other.config.training})
    _print_nodes(out, explanation)
    if explanation.runs:
        _print_costs(out, explanation)
    else:
        _print_blocks(out, explanation, fits)
    out.result(explanation.to_json() | {"other_targets": fits})
    if explanation.error is not None:
        raise typer.Exit(explanation.error.exit_code)


def _print_nodes(out: Output, explanation: "Explanation") -> None:
    from systolith.sw.explain import Place

    silent = (Place.SCALE, Place.CONSTANT)
    numbers = ("cycles", "share", "of peak", "weights", "maps")
    table = out.table("#", "node", "operator", "runs on", *numbers, numbers=("#", *numbers))
    shown = [node for node in explanation.nodes if node.where not in silent]
    rows = {node.layer: row for row, node in enumerate(shown, 1) if node.where is not Place.FUSED}
    for row, node in enumerate(shown, 1):
        where = node.where.value
        if node.where is Place.FUSED:
            where = f"fused into {f'#{rows[node.layer]}' if node.layer in rows else node.layer}"
        table.add_row(str(row), node.node, node.op, where, *_costs(node))
    out.show(table)
    for why, count in Counter(node.why for node in explanation.nodes
                              if node.where in silent).items():
        out.say(f"{count} more: {why}")
    for where, why in dict.fromkeys((node.where.value, node.why) for node in shown
                                    if node.where is not Place.BLOCKED):
        out.say(f"{where}: {why}")
    if any(node.map_bytes for node in explanation.nodes):
        out.say("weights, maps: bytes; of maps all that live while the step runs")


def _costs(node: "NodeReport") -> list[str]:
    timed = ["", "", ""] if node.cycles is None else [
        f"{node.cycles:,}", f"{node.share:.1%}", f"{node.utilization:.1%}"]
    return [*timed, *(f"{count:,}" if count else ""
                      for count in (node.constant_bytes, node.map_bytes))]


def _print_costs(out: Output, explanation: "Explanation") -> None:
    from systolith.sw.explain import Place

    out.say(f"Runs on  {explanation.config.describe()}: {explanation.cycles:,} cycles an image")
    for line in segments(explanation.segments):
        out.say(line)
    memory = explanation.memory
    if memory is not None:
        out.say(f"Memory   {memory.constants:,} bytes of weights and parameters, {memory.maps:,} "
                f"of feature maps (most at {memory.worst!r}), {memory.available:,} there are")
    busiest = max((node for node in explanation.nodes if node.cycles), default=None,
                  key=lambda node: node.cycles)
    if busiest is not None and busiest.where is not Place.HOST:
        out.say(f"Longest  {busiest.node!r}: {busiest.share:.1%} of the cycles")


def _print_blocks(out: Output, explanation: "Explanation", fits: list[str]) -> None:
    from systolith.sw.explain import Place

    out.say(f"Does not run on {explanation.config.describe()}:")
    for number, block in enumerate(explanation.blocks, 1):
        operator = f" ({block.op})" if block.op else ""
        where = "" if block.node is None else f"{block.node}{operator}: "
        out.say(f"{number}. {where}{block.reason}")
        if block.advice:
            out.say(f"   To unblock: {block.advice}")
    memory = explanation.memory
    if memory is not None:
        needs = memory.constants + memory.maps
        heavy = max(explanation.nodes, key=lambda node: node.constant_bytes)
        least = "at least " if memory.partial else ""
        out.say(f"Memory   {least}{needs:,} bytes needed, {memory.available:,} there are, "
                f"{max(0, needs - memory.available):,} too many")
        out.say(f"Worst    {memory.worst!r} with {memory.maps:,} bytes of feature maps, "
                f"{heavy.node!r} with {heavy.constant_bytes:,} bytes of weights")
    hidden = [node.node for node in explanation.nodes if node.where is Place.UNKNOWN]
    if hidden:
        out.say(f"Not judged, behind a blocked node: {', '.join(hidden)}")
    if fits:
        out.say(f"It runs on: {', '.join(fits)}")
