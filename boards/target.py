"""What a target is: a board, the accelerator it carries and the tools that build it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from amaranth.build import Platform

from systolith.boards.pll import Pll
from systolith.boards.toolchain import Toolchain
from systolith.hw.config import Config

__all__ = ["Pin", "Target"]

#: Name and number of a resource of the platform, and the part of it, if it has several.
Pin = tuple[str, int] | tuple[str, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A board and the accelerator it carries; its name is the configuration's."""

    config: Config
    #: One line for people.
    description: str
    #: Ordering code of the FPGA.
    device: str
    #: Makes the board's pins: a platform of amaranth-boards.
    platform: Callable[[], Platform]
    toolchain: Toolchain
    pll: type[Pll]
    #: The clock of the whole accelerator; timing must be met at this frequency.
    clock_hz: int
    #: The placer's seed that is tried first: one that met the clock with this design and tools.
    seed: int = 1
    #: Bits a second of the serial link.
    baud: int
    #: Where the link is on the board, for people.
    link: str
    #: The button that resets the accelerator.
    reset_button: Pin
    #: The LEDs, by what they show: members of :data:`systolith.hw.controller.Indicators`.
    leds: Mapping[str, Pin]
    #: The board's name for openFPGALoader.
    loader_board: str

    @property
    def routed_hz(self) -> float:
        """The clock asked of place and route, a little above the target's own."""
        return self.clock_hz * (1 + self.toolchain.margin)

    @property
    def name(self) -> str:
        """Name on the command line."""
        return self.config.name
