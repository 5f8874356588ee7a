"""``systolith conformance``: ONNX's own tests of every operator the importer knows."""

import sys
from typing import Annotated

import typer

from systolith.cli.output import Json, Output

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith conformance --operator MaxPool --operator Conv"


def command(
    target: Annotated[str, typer.Option(
        "--target", "-t", help="Name of a board, or a configuration as a .json file.")] = (
            "ulx3s-85f"),
    device: Annotated[str, typer.Option(
        "--device", "-d", help="Where the cases run; see systolith devices.")] = "machine:",
    operator: Annotated[list[str] | None, typer.Option(
        "--operator", help="An ONNX operator; may be given again. All, if left out.")] = None,
    as_json: Json = False,
) -> int:
    """Run ONNX's node tests and print the page docs/operators.md.

    The exit code is 1 if a case fails; a case that is refused with a reason is no failure.
    """
    from systolith.boards.targets import find_config
    from systolith.sim.conformance import check_case, claimed, node_cases, operator_of
    from systolith.sim.conformance_page import conformance_data, conformance_page

    out = Output(as_json)
    config = find_config(target)
    with out.log.status("reading ONNX's test cases"):
        cases = node_cases()
    tried = claimed(cases)
    known = sorted({operator_of(case) for case in tried})
    unknown = [name for name in operator or () if name not in known]
    if unknown:
        raise typer.BadParameter(f"no case of {', '.join(unknown)} can be tried; there are those "
                                 f"of {', '.join(known)}")
    others = [operator_of(case) for case in cases if operator_of(case) not in known]
    outcomes = []
    with out.progress() as progress:
        task = progress.add_task(device, total=len(tried))
        for case in tried:
            if not operator or operator_of(case) in operator:
                outcomes.append(check_case(case, config, device))
            progress.advance(task)
    if not as_json:
        sys.stdout.write(conformance_page(outcomes, others))
    out.result(conformance_data(outcomes, others))
    return 1 if any(outcome.verdict == "failed" for outcome in outcomes) else 0
