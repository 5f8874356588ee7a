"""Images a second, one after the other through the link, and the link that keeps the array busy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from systolith.boards.targets import TARGETS
from systolith.examples.benchmark import Work, check_answers
from systolith.examples.evaluate import random_inputs
from systolith.hw.config import Config
from systolith.sim.verilated import CLOCK_HZ
from systolith.sw import device
from systolith.sw.errors import DataError
from systolith.sw.partition import compile_network
from systolith.sw.pipeline import Pipeline
from systolith.sw.traffic import traffic

__all__ = ["Line", "Row", "lines_of", "measure"]

#: Cycles for which a byte occupies the simulated links that are tried beside the board's own.
_BYTE_CYCLES = (64, 16, 4, 1)
#: Bits on a UART's line for a byte.
_UART_BITS = 10
#: Images that are counted, if they take the link no longer than all of these cycles; at least two.
_MOST_IMAGES, _MOST_CYCLES = 16, 8_000_000
#: Images under way when the first and after the last result that is counted is there.
_FILLING = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A link, as seen from the device: clock cycles for a byte, in each direction."""

    name: str
    byte_cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One network on one target behind one link."""

    network: str
    target: str
    link: str
    byte_cycles: int
    #: Clock cycles from one result to the next, measured on the RTL, over ``images`` of them.
    cycles: float
    images: int
    #: What the array alone would take, and the link alone in its busier direction.
    array_cycles: int
    link_cycles: int
    images_per_second: float
    #: Bytes a second, each way, at which the link takes as long as the array.
    knee_bytes_per_second: float

    @property
    def bottleneck(self) -> str:
        """What takes longer: ``array`` or ``link``."""
        return "array" if self.array_cycles >= self.link_cycles else "link"


def clock_hz(target: str) -> int:
    """Return a board's clock; of a configuration without board that of simulated seconds."""
    return TARGETS[target].clock_hz if target in TARGETS else CLOCK_HZ


def lines_of(target: str, byte_cycles: Sequence[int] | None = None) -> list[Line]:
    """Return links of these rates; else the board's UART, if there is a board, and some others."""
    clock = clock_hz(target)
    if byte_cycles:
        return [Line(_rate(clock / cycles), cycles) for cycles in byte_cycles]
    uart = [Line(f"UART {board.baud / 1e6:g} Mbaud",
                 ceil(_UART_BITS * board.clock_hz / board.baud))
            for board in (TARGETS.get(target),) if board]
    return uart + [Line(_rate(clock / cycles), cycles) for cycles in _BYTE_CYCLES]


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e6:.3g} MB/s"


def measure(work: Work, config: Config, lines: Sequence[Line]) -> Iterator[Row]:
    """Stream random images through the compiled RTL behind one link after the other.

    Raises
    ------
    CapacityError
        If the network does not fit.
    DataError
        If the network is one in segments: those run batch by batch.
    WrongAnswer
        If an answer differs from the golden model's.
    DeviceError
        If the simulation fails.
    """
    graph = work.load()
    program = compile_network(graph, config)
    if isinstance(program, Pipeline):
        raise DataError(f"{work.name} has operations of the host inside: it runs batch by batch, "
                        "not image by image")
    carried = traffic(program)
    clock = clock_hz(config.name)
    with device.open("sim:", config) as opened:
        opened.load(program)
        for line in lines:
            opened.backend.pace(line.byte_cycles)
            link_cycles = carried.most * line.byte_cycles
            images = min(_MOST_IMAGES, max(2, _MOST_CYCLES // link_cycles))
            inputs = random_inputs(graph, images + _FILLING)
            times, outputs = [], []
            for result in opened.stream(zip(inputs, strict=True)):
                times.append(opened.backend.cycles)
                outputs.append(result.outputs)
            check_answers(work, config, graph, inputs,
                          tuple(map(np.stack, zip(*outputs, strict=True))))
            cycles = (times[images] - times[0]) / images
            yield Row(
                network=work.name, target=config.name, link=line.name,
                byte_cycles=line.byte_cycles, cycles=cycles, images=images,
                array_cycles=program.predicted_cycles, link_cycles=link_cycles,
                images_per_second=clock / cycles,
                knee_bytes_per_second=carried.most * clock / program.predicted_cycles)
