"""The top level of a board: clock, reset, serial link and status LEDs around the accelerator."""

from typing import Any

from amaranth import ClockDomain, ClockSignal, Module, Signal
from amaranth.build import Platform
from amaranth.hdl import Elaboratable
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from systolith.boards.target import Pin, Target

__all__ = ["BoardTop"]

#: Core clock cycles the reset is held after the PLL has locked (iCE40 block RAMs need 15 us).
RESET_CYCLES = 1 << 10
#: Core clock cycles an LED stays lit after an event too short to see.
VISIBLE_CYCLES = 1 << 21


class BoardTop(Elaboratable):
    """Everything between the pins and the accelerator.

    The core clock is the domain ``sync``. The accelerator is held in reset until the PLL has locked
    and while the reset button is pressed; the link then finds a device as after power-up.

    Parameters
    ----------
    target : Target
        The board.
    accelerator : wiring.Component
        Members ``reset : In(1)``, ``rx : In(1)`` (asynchronous), ``tx : Out(1)`` and ``indicators``
        of :data:`systolith.hw.controller.Indicators`.
    """

    def __init__(self, target: Target, accelerator: wiring.Component):
        self.target = target
        self.accelerator = accelerator

    def elaborate(self, platform: Platform) -> Module:
        """Make the clock, the reset and the pins."""
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        pins = _Pins(platform)
        self._clock(m, platform, pins)

        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [accelerator.rx.eq(rx.i), tx.o.eq(accelerator.tx)]

        for shown, pin in self.target.leds.items():
            part = "".join(map(str, pin[1:]))
            event = Signal(name=f"event{part}")
            m.d.sync += event.eq(getattr(accelerator.indicators, shown))
            m.submodules[f"{pin[0]}{part}"] = led = io.Buffer("o", pins[pin])
            m.d.comb += led.o.eq(_stretched(m, event, f"{pin[0]}{part}_left"))
        return m

    def _clock(self, m: Module, platform: Platform, pins: "_Pins") -> None:
        """Drive ``sync`` from the PLL, and a reset that outlives its lock and the button."""
        m.submodules.pll = pll = self.target.pll(
            platform.request(platform.default_clk, dir="-"),
            input_hz=int(platform.default_clk_frequency), output_hz=self.target.clock_hz)
        platform.add_clock_constraint(pll.clock, self.target.routed_hz)
        m.submodules.button = button = io.Buffer("i", pins[self.target.reset_button])
        held, hold = Signal(), Signal(range(RESET_CYCLES), init=RESET_CYCLES - 1)
        holding, reset = Signal(init=1), Signal(init=1)
        m.domains.sync = ClockDomain(reset_less=True)
        m.submodules.hold_synchronizer = FFSynchronizer(~pll.locked | button.i, held, init=1)
        m.d.comb += [ClockSignal().eq(pll.clock), self.accelerator.reset.eq(reset)]
        with m.If(held):
            m.d.sync += hold.eq(RESET_CYCLES - 1)
        with m.Elif(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        m.d.sync += [holding.eq(held | (hold != 0)), reset.eq(holding)]


class _Pins:
    """The platform's pins; one resource may hold several, such as the colours of an LED."""

    def __init__(self, platform: Platform):
        self.platform = platform
        self.requested: dict[tuple[str, int], Any] = {}

    def __getitem__(self, pin: Pin) -> io.PortLike:
        resource, part = pin[:2], pin[2:]
        if resource not in self.requested:
            self.requested[resource] = self.platform.request(*resource, dir="-")
        return getattr(self.requested[resource], *part) if part else self.requested[resource]


def _stretched(m: Module, event: Signal, name: str) -> Signal:
    """Return a level that follows ``event`` and stays for ``VISIBLE_CYCLES``."""
    left = Signal(range(VISIBLE_CYCLES), name=name)
    with m.If(event):
        m.d.sync += left.eq(VISIBLE_CYCLES - 1)
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
    return left != 0
