"""``systolith demo``: handwritten digits, classified by the simulated hardware."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.columns import Columns
from rich.text import Text

from systolith.cli.compile import describe, utilization
from systolith.cli.output import Json, Output
from systolith.cli.run import run_on

if TYPE_CHECKING:
    import numpy as np

    from systolith.boards.target import Target
    from systolith.sw.device import Run
    from systolith.sw.program import Program

__all__ = ["EXAMPLE", "Outcome", "command", "digits"]

EXAMPLE = "Example: systolith demo --images 200"

#: The demo's network and digits; they are part of the project, not of the Python package.
LENET = Path(__file__).resolve().parents[1] / "examples" / "lenet"
#: Digits shown in the terminal.
SHOWN = 8
#: The middle of a picture, where MNIST has its digits.
_MIDDLE = slice(4, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo came to."""

    images: int
    correct: int
    #: Hardware and golden model agree on every output of every image.
    bit_exact: bool
    #: Largest difference from onnxruntime, in steps of the quantised output.
    max_lsb: int
    cycles_per_image: float
    images_per_second: float

    @property
    def accuracy(self) -> float:
        """Share of the digits recognised."""
        return self.correct / self.images

    @property
    def good(self) -> bool:
        """Whether the hardware did what it must."""
        return self.bit_exact and self.max_lsb <= 1


def command(
    images: Annotated[int, typer.Option(
        min=SHOWN, max=1000, help="Digits to classify.")] = 200,
    device: Annotated[str, typer.Option(
        help="sim: or another device; see systolith devices.")] = "sim:",
    as_json: Json = False,
) -> None:
    """Classify handwritten digits on the RTL of the ULX3S and compare every output.

    Compiles a LeNet-5 for ulx3s-85f, compiles the RTL with Verilator, runs real MNIST test digits
    through the driver and compares all outputs with the golden model and with onnxruntime. The
    exit code is 1 if they differ.
    """
    from systolith.boards.targets import find_target
    from systolith.sw.compiler import compile_graph
    from systolith.sw.importer.load import load_model

    out = Output(as_json)
    target = find_target("ulx3s-85f")
    pictures, labels, inputs = digits(images)
    out.say(f"Network    {LENET.name}, {images} of its MNIST test digits")
    graph = load_model(LENET / "lenet_int8.onnx")
    program = compile_graph(graph, target.config)
    out.say(f"Target     {target.description}")
    started = time.monotonic()
    ran = run_on(out, device, program, inputs)
    setup = time.monotonic() - started - ran.seconds
    out.say(f"Hardware   {device} built and loaded in {setup:.0f} s, run in {ran.seconds:.0f} s")
    outcome = _compare(graph, inputs, labels, ran)
    _show(out, pictures, labels, ran)
    _print(out, target, program, outcome)
    out.result(_result(program, outcome))
    if not outcome.good:
        raise typer.Exit(1)


def digits(count: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return pictures uint8[n, 28, 28], labels uint8[n] and inputs float32[n, 1, 28, 28]."""
    import numpy as np

    from systolith.sw.errors import DataError

    if not LENET.is_dir():
        raise DataError(f"{LENET} is not there: the demo runs in a checkout of the project")
    with np.load(LENET / "digits.npz") as digits:
        pictures, labels = digits["images"][:count], digits["labels"][:count]
    return pictures, labels, (pictures / np.float32(255)).astype(np.float32)[:, None]


def _compare(graph: Any, inputs: "np.ndarray", labels: "np.ndarray", ran: "Run") -> Outcome:
    """Compare the hardware's outputs with the golden model's and onnxruntime's."""
    import numpy as np

    from systolith.sim.golden import run_model
    from systolith.sim.reference import open_session

    found = ran.outputs[0]
    golden = run_model(graph, inputs)[0]
    session = open_session(LENET / "lenet_int8.onnx")
    reference = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    scale = graph.tensors[graph.outputs[0].tensor].scale
    return Outcome(
        images=len(labels), correct=int((found.argmax(axis=1) == labels).sum()),
        bit_exact=bool(np.array_equal(found, golden)),
        max_lsb=int(np.rint(np.abs(found - reference) / scale).max()),
        cycles_per_image=ran.cycles_per_image, images_per_second=ran.images_per_second)


def _show(out: Output, pictures: "np.ndarray", labels: "np.ndarray", ran: "Run") -> None:
    """Draw the first digits, each with the hardware's answer."""
    from systolith.cli.digits import picture

    drawn = []
    for pixels, label, scores in zip(pictures[:SHOWN], labels, ran.outputs[0], strict=False):
        answer = int(scores.argmax())
        verdict = "" if answer == label else f" (it is a {label})"
        drawn.append(Text.assemble(picture(pixels[_MIDDLE, _MIDDLE]), "\n", (str(answer), "bold"),
                                   f"{verdict}\n"))
    out.say(Columns(drawn, padding=(0, 0)))


def _print(out: Output, target: "Target", program: "Program", outcome: Outcome) -> None:
    cycles = outcome.cycles_per_image
    data = describe(program)
    exact = ("equal in every bit", "") if outcome.bit_exact else ("DIFFERENT", "bold red")
    out.say(f"Accuracy   {outcome.accuracy:.1%}: {outcome.correct} of {outcome.images} digits")
    out.say(Text.assemble("Golden     ", exact,
                          f"; at most {outcome.max_lsb} LSB from onnxruntime"))
    out.say(f"Cycles     {cycles:,.0f} an image, {program.predicted_cycles:,} predicted")
    out.say(f"Array      {utilization(program, cycles):.1%} of its multiply-accumulates used, "
            f"{data['macs']:,} an image")
    out.say(f"Speed      {outcome.images_per_second:.1f} images a second here; "
            f"{1e3 * cycles / target.clock_hz:.3f} ms an image on the board at "
            f"{target.clock_hz / 1e6:g} MHz")


def _result(program: "Program", outcome: Outcome) -> dict[str, Any]:
    return {
        "images": outcome.images, "accuracy": outcome.accuracy, "bit_exact": outcome.bit_exact,
        "max_lsb_vs_onnxruntime": outcome.max_lsb,
        "cycles_per_image": outcome.cycles_per_image,
        "predicted_cycles": program.predicted_cycles,
        "utilization": round(utilization(program, outcome.cycles_per_image), 4),
        "images_per_second": outcome.images_per_second,
    }
