"""``systolith bench``: cycles of networks and of training on the RTL, images a second of a link."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from systolith.cli.output import Json, Output
from systolith.cli.training_bench import bench_training

if TYPE_CHECKING:
    from systolith.examples.benchmark import Work
    from systolith.hw.config import Config

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: systolith bench --network resnet8 --network dscnn"

T = TypeVar("T")
#: What was measured of a network, and of those that do not fit a target why.
Measured = dict[str, list[Any]]
Misfits = dict[str, dict[str, str]]


class Suite(StrEnum):
    """What is measured."""

    CYCLES = "cycles"
    THROUGHPUT = "throughput"
    TRAINING = "training"


def command(
    target: Annotated[list[str] | None, typer.Option(
        "--target", "-t", help="Name of a board, or a configuration as a .json file; may be given "
                               "again. If left out ulx3s-85f, or ulx3s-85f-train.")] = None,
    everything: Annotated[bool, typer.Option(
        "--all", help="Every board, and what is compared with other projects.")] = False,
    network: Annotated[list[str] | None, typer.Option(
        "--network", "-n", help="A network of the zoo; may be given again. All that fit, if "
                                "left out.")] = None,
    suite: Annotated[Suite, typer.Option(
        help="cycles: of one image, its input on chip. throughput: images a second, back to back "
             "through links of several rates. training: cycles of a step of LeNet-5.")] = (
                 Suite.CYCLES),
    batch: Annotated[int, typer.Option(
        min=1, help="Images that a job takes; cycles are an image's share of its job.")] = 1,
    check: Annotated[bool, typer.Option(
        "--check", help="Fail where cycles grew over the committed baseline by more than 1 %.")] = (
            False),
    byte_cycles: Annotated[list[int] | None, typer.Option(
        min=1, help="Throughput: clock cycles the link takes for a byte; may be given again.")] = (
            None),
    as_json: Json = False,
) -> int:
    """Run or train networks on the compiled RTL and tell their cycles, or images a second.

    Answers are checked against the golden model bit for bit. The exit code is 1 if --check finds a
    network that became slower.
    """
    from systolith.examples.benchmark import WORKS, all_targets, bench_config, find_work

    out = Output(as_json)
    training = suite is Suite.TRAINING
    names = list(all_targets(training=training)) if everything else target or [
        "ulx3s-85f-train" if training else "ulx3s-85f"]
    configs = [bench_config(name) for name in names]
    if training:
        return bench_training(out, configs, check)
    works = [find_work(name) for name in network] if network else list(WORKS.values())
    strict = bool(network) and len(configs) == 1
    if suite is Suite.THROUGHPUT:
        return _throughput(out, configs, works, strict, byte_cycles)
    return _cycles(out, configs, works, strict, check, batch)


def _measured(out: Output, configs: list["Config"], works: list["Work"], strict: bool,
              measure: Callable[["Work", "Config"], Iterable[T]],
              ) -> Iterator[tuple["Config", list[T], dict[str, str]]]:
    """Yield for each target what was measured, and why some networks do not fit.

    With ``strict`` a network that does not fit is an error.
    """
    from systolith.sw.errors import CapacityError

    for config in configs:
        rows, misfits = [], {}
        with out.progress() as progress:
            for work in progress.track(works, description=config.name):
                try:
                    rows.extend(measure(work, config))
                except CapacityError as error:
                    if strict:
                        raise
                    misfits[work.name] = str(error)
        yield config, rows, misfits


def _cycles(out: Output, configs: list["Config"], works: list["Work"], strict: bool,
            check: bool, batch: int) -> int:
    from systolith.examples import benchmark
    from systolith.examples.bars import bar_of

    rows, left_out = [], {}
    for config, measured, misfits in _measured(
            out, configs, works, strict,
            lambda work, config: [benchmark.measure(work, config, batch)]):
        rows += measured
        left_out[config.name] = misfits
        _print_cycles(out, config, measured, misfits)
    _print_peers(out, rows)
    slower = [text for row in rows
              if (text := benchmark.grown(row.target, row.network, row.cycles))]
    if check:
        for text in slower:
            out.say(text)
    bars = [asdict(bar) | {"met": bar.met(row.cycles, row.utilization)} for row in rows
            if (bar := bar_of(row.target, row.network))]
    out.result({"rows": [asdict(row) for row in rows], "bars": bars,
                "peers": [asdict(peer) for _, peer in _beside_peers(rows)],
                "does_not_fit": left_out, "slower": slower})
    return 1 if check and slower else 0


def _print_cycles(out: Output, config: "Config", rows: list, misfits: dict[str, str]) -> None:
    from systolith.boards.targets import TARGETS
    from systolith.examples.bars import bar_of

    numbers = ("MACs", "cycles", "predicted", "error", "of peak", "to reach", "ms")
    table = out.table("network", *numbers, "", numbers=numbers)
    board = TARGETS.get(config.name)
    for row in rows:
        bar = bar_of(row.target, row.network)
        verdict = "" if bar is None else "met" if bar.met(row.cycles, row.utilization) else "MISSED"
        table.add_row(
            row.network, f"{row.macs:,}", f"{row.cycles:,}", f"{row.predicted_cycles:,}",
            f"{row.predicted_cycles / row.cycles - 1:+.2%}", f"{row.utilization:.1%}",
            str(bar or ""), f"{1e3 * row.cycles / board.clock_hz:.2f}" if board else "", verdict)
    clock = f", {board.clock_hz / 1e6:g} MHz" if board else ""
    out.say(f"{config.describe()}{clock}")
    out.show(table)
    for name, reason in misfits.items():
        out.say(f"{name} does not fit: {reason}")
    out.say()


def _beside_peers(rows: list) -> list[tuple]:
    """Return every row that others were measured with, and their figure."""
    from systolith.examples.bars import PEERS

    return [(row, peer) for peer in PEERS for row in rows
            if (peer.target, peer.network) == (row.target, row.network)]


def _print_peers(out: Output, rows: list) -> None:
    from systolith.examples.benchmark import bench_config

    numbers = ("its MACs", "its cycles", "of peak", "fast memory", "Systolith")
    table = out.table("network", "target", "beside", *numbers, numbers=numbers)
    for row, peer in _beside_peers(rows):
        share = peer.macs / peer.cycles / bench_config(peer.target).multipliers
        fast = "" if peer.fast_memory_cycles is None else f"{peer.fast_memory_cycles:,}"
        table.add_row(peer.network, peer.target, peer.name, f"{peer.macs:,}", f"{peer.cycles:,}",
                      f"{share:.1%}", fast, f"{row.cycles:,} ({row.utilization:.1%})")
    if table.row_count:
        out.show(table)


def _throughput(out: Output, configs: list["Config"], works: list["Work"], strict: bool,
                byte_cycles: list[int] | None) -> int:
    from systolith.examples import throughput

    rows, left_out = [], {}
    for config, measured, misfits in _measured(
            out, configs, works, strict,
            lambda work, config: throughput.measure(
                work, config, throughput.lines_of(config.name, byte_cycles))):
        rows += measured
        left_out[config.name] = misfits
        _print_throughput(out, config, measured, misfits)
    out.result({"rows": [asdict(row) | {"bottleneck": row.bottleneck} for row in rows],
                "does_not_fit": left_out})
    return 0


def _print_throughput(out: Output, config: "Config", rows: list, misfits: dict[str, str]) -> None:
    numbers = ("cycles an image", "images a second", "link's share", "array's share", "knee")
    table = out.table("network", "link", *numbers, "bottleneck", numbers=numbers)
    for row in rows:
        table.add_row(
            row.network, row.link, f"{row.cycles:,.0f}", f"{row.images_per_second:,.1f}",
            f"{row.link_cycles / row.cycles:.0%}", f"{row.array_cycles / row.cycles:.0%}",
            f"{row.knee_bytes_per_second / 1e6:.3g} MB/s", row.bottleneck)
    out.say(config.describe())
    out.show(table)
    for name, reason in misfits.items():
        out.say(f"{name} does not fit: {reason}")
    out.say()
