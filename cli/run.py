"""``systolith run``: a program on a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.compile import utilization
from systolith.cli.output import Json, Output

if TYPE_CHECKING:
    import numpy as np

    from systolith.sw.device import Run
    from systolith.sw.pipeline import Pipeline
    from systolith.sw.program import Program

__all__ = ["EXAMPLE", "command", "run_on"]

EXAMPLE = "Example: systolith run lenet.sth --device sim: --input images.npy --output answers.npy"


def command(
    program: Annotated[Path, typer.Argument(help="What systolith compile has written, .sth.")],
    device: Annotated[str, typer.Option(
        "--device", "-d", help="sim:, machine: or serial:/dev/ttyUSB0; see systolith devices.")],
    input_file: Annotated[Path, typer.Option(
        "--input", "-i", help="The model's own input, .npy, batch first.")],
    output_file: Annotated[Path, typer.Option(
        "--output", "-o", help="The model's own output, .npy, batch first.")],
    as_json: Json = False,
) -> None:
    """Run a program on a device: the simulated hardware, a model of it, or a board."""
    from systolith.cli.arrays import read_array, write_array
    from systolith.sw.errors import DataError
    from systolith.sw.pipeline import load_program
    from systolith.sw.ports import encode

    out = Output(as_json)
    loaded = load_program(program)
    if len(loaded.inputs) != 1 or len(loaded.outputs) != 1:
        raise DataError(f"{program}: {len(loaded.inputs)} inputs and {len(loaded.outputs)} outputs "
                        "do not fit one .npy file each: use systolith.open from Python")
    images = read_array(input_file)
    buffer = loaded.inputs[0]
    try:
        encode(buffer.port, buffer.tensor, images)
    except DataError as error:
        raise DataError(f"{input_file}: {error}") from error
    ran = run_on(out, device, loaded, images)
    write_array(output_file, ran.outputs[0])
    cycles = ran.cycles_per_image
    out.say(f"Images   {len(images):,}, {ran.images_per_second:.1f} a second")
    out.say(f"Cycles   {cycles:,.0f} an image, {loaded.cycles_per_image:,.0f} predicted")
    out.say(f"Array    {utilization(loaded, cycles):.1%} of its multiply-accumulates used")
    out.say(f"Output   {output_file}, {ran.outputs[0].dtype}{list(ran.outputs[0].shape)}")
    out.result({
        "images": len(images), "cycles_per_image": cycles,
        "utilization": round(utilization(loaded, cycles), 4),
        "images_per_second": ran.images_per_second, "predicted_cycles": loaded.cycles_per_image,
        "output": str(output_file),
    })


def run_on(out: Output, url: str, program: "Program | Pipeline", images: "np.ndarray") -> "Run":
    """Open a device, load a program and run a batch, with progress on stderr."""
    from systolith.sw import device

    with out.log.status(f"opening {url}"):
        opened = device.open(url, program.config)
    with opened, out.progress() as progress:
        loading = progress.add_task("loading", total=None)
        opened.load(program, lambda done, total: progress.update(
            loading, completed=done, total=total))
        running = progress.add_task("images", total=len(images))
        return opened.run(images, progress=lambda done, total: progress.update(
            running, completed=done))
