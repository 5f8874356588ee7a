"""``systolith bench --suite training``: cycles of a training step, beside what others report."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from systolith.cli.output import Output

if TYPE_CHECKING:
    from systolith.examples.training_step import Row
    from systolith.hw.config import Config

__all__ = ["bench_training"]


def bench_training(out: Output, configs: list["Config"], check: bool) -> int:
    """Train for one step on each target, on its RTL, and tell the cycles.

    Returns
    -------
    int
        1 if ``check`` finds a target that became slower.
    """
    from systolith.examples import training_step
    from systolith.examples.bars import bar_of
    from systolith.examples.benchmark import grown

    rows = []
    with out.progress() as progress:
        for config in progress.track(configs, description=training_step.NETWORK):
            rows.append(training_step.measure(config))
    for row in rows:
        _print(out, row)
    slower = [text for row in rows
              if (text := grown(row.target, row.network, row.cycles))]
    if check:
        for text in slower:
            out.say(text)
    bars = [asdict(bar) | {"met": bar.met(row.cycles, row.utilization)} for row in rows
            if (bar := bar_of(row.target, row.network))]
    out.result({"rows": [_figures(row) for row in rows], "bars": bars,
                "peers": [asdict(peer) for peer in training_step.PEERS], "slower": slower})
    return 1 if check and slower else 0


def _clock(row: "Row") -> int | None:
    """Return the clock of the target, if it is a board."""
    from systolith.boards.targets import TARGETS

    target = TARGETS.get(row.target)
    return target.clock_hz if target else None


def _figures(row: "Row") -> dict[str, float | int | str | None]:
    clock = _clock(row)
    return asdict(row) | {
        "cycles_per_image": row.cycles_per_image, "macs_per_cycle": row.macs_per_cycle,
        "clock_hz": clock, "macs_per_second": clock and clock * row.macs_per_cycle,
        "images_per_second": clock and clock / row.cycles_per_image}


def _print(out: Output, row: "Row") -> None:
    from systolith.examples.bars import bar_of
    from systolith.examples.training_step import PEERS

    bar = bar_of(row.target, row.network)
    verdict = "" if bar is None else (
        f", to reach {bar}: {'met' if bar.met(row.cycles, row.utilization) else 'MISSED'}")
    out.say(f"{row.network} on {row.target}: {row.cycles:,} cycles for a step of {row.batch} "
            f"images, in micro-batches of {row.micro_batch} ({row.predicted_cycles:,} predicted)"
            f"{verdict}")
    out.say(f"{row.cycles_per_image:,.0f} cycles an image, {row.utilization:.1%} of the peak, "
            "equal to the golden model in every bit")
    numbers = ("MACs a cycle", "MHz", "GMAC/s", "images a second")
    table = out.table("training", *numbers, "ours", numbers=(*numbers, "ours"))
    clock = _clock(row)
    images = clock and clock / row.cycles_per_image
    table.add_row(row.target, *_cells(row.macs_per_cycle, clock, images), "")
    for peer in PEERS:
        ratio = images and peer.images_per_second and f"{images / peer.images_per_second:.1f} x"
        table.add_row(peer.name, *_cells(peer.macs_per_cycle, peer.clock_hz,
                                         peer.images_per_second), ratio or "")
    out.show(table)


def _cells(macs: float | None, clock: float | None, images: float | None) -> tuple[str, ...]:
    rate = clock * macs / 1e9 if clock and macs else None
    return tuple("" if value is None else f"{value:{form}}" for value, form in (
        (macs, ".1f"), (clock and clock / 1e6, "g"), (rate, ".2f"), (images, ",.0f")))
