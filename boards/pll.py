"""Phase-locked loops: the board's oscillator in, the core clock out.

All have the same ports, so that a target names one and the board's top does not care.

References
----------
Lattice FPGA-TN-02200 "ECP5 sysCLOCK PLL/DLL", table 21 (limits of EHXPLLL); Lattice FPGA-DS-02008
"iCE40 UltraPlus", table 4.11, and TN1251 "iCE40 sysCLOCK PLL" (limits of SB_PLL40); Gowin DS226
"GW2AR series" (limits of its PLL) and UG286 "Clock" (rPLL).
"""

from dataclasses import dataclass

from amaranth import Const, Instance, Module, Signal
from amaranth.hdl import IOValue
from amaranth.lib import io, wiring
from amaranth.lib.wiring import Out

from systolith.boards.errors import BoardError

__all__ = ["Ecp5Dividers", "Ecp5Pll", "GowinDividers", "GowinPll", "Ice40Dividers", "Ice40Pll",
           "Pll"]


class Pll(wiring.Component):
    """What every PLL looks like to the board's top.

    Parameters
    ----------
    port : :class:`amaranth.lib.io.PortLike`
        Pin of the oscillator, unbuffered.
    input_hz, output_hz : int
        Frequency of the oscillator and of the core clock.

    Members
    -------
    clock : :py:`Out(1)`
        The core clock.
    locked : :py:`Out(1)`
        High once the clock is stable.

    Raises
    ------
    BoardError
        If no dividers give ``output_hz`` exactly.
    """

    clock: Out(1)
    locked: Out(1)

    def __init__(self, port: io.PortLike, *, input_hz: int, output_hz: int):
        self.port = port
        self.input_hz = input_hz
        self.output_hz = output_hz
        super().__init__()


@dataclass(frozen=True, slots=True)
class Ecp5Dividers:
    """Dividers of EHXPLLL with feedback from its first output.

    That output is ``input * feedback / reference``, and the oscillator ``output`` times as fast.
    Where it cannot be the clock, the second output is, ``oscillator / second``.
    """

    reference: int
    feedback: int
    output: int
    second: int | None = None

    @classmethod
    def solve(cls, input_hz: int, output_hz: int) -> "Ecp5Dividers":
        """Return the dividers with the fastest phase detector, oscillator nearest 600 MHz.

        Raises
        ------
        BoardError
            If there are none.
        """
        for reference in range(1, 129):
            feedback, remainder = divmod(output_hz * reference, input_hz)
            if remainder or not 1 <= feedback <= 80 or not 10e6 <= input_hz / reference <= 400e6:
                continue
            outputs = [n for n in range(1, 129) if 400e6 <= output_hz * n <= 800e6]
            if outputs:
                output = min(outputs, key=lambda n: abs(output_hz * n - 600e6))
                return cls(reference, feedback, output)
        oscillators = [n * input_hz for n in range(1, 129)
                       if 400e6 <= n * input_hz <= 800e6 and n * input_hz % output_hz == 0]
        if oscillators and 10e6 <= input_hz <= 400e6:
            oscillator = min(oscillators, key=lambda hz: abs(hz - 600e6))
            return cls(1, 1, oscillator // input_hz, oscillator // output_hz)
        raise BoardError(f"the ECP5 PLL cannot make {output_hz / 1e6:g} MHz from "
                         f"{input_hz / 1e6:g} MHz: choose another core clock")


class Ecp5Pll(Pll):
    """EHXPLLL; see :class:`Pll`."""

    def elaborate(self, platform: object) -> Module:
        """Buffer the pin and feed the primitive."""
        m = Module()
        dividers = Ecp5Dividers.solve(self.input_hz, self.output_hz)
        m.submodules.buffer = buffer = io.Buffer("i", self.port)
        first, second, first_hz = self.clock, {}, self.output_hz
        if dividers.second is not None:
            first = Signal()
            first_hz = self.input_hz * dividers.feedback // dividers.reference
            second = {
                "p_CLKOS_ENABLE": "ENABLED", "p_CLKOS_DIV": dividers.second,
                "p_CLKOS_CPHASE": dividers.second // 2 - 1, "p_CLKOS_FPHASE": 0,
                "a_FREQUENCY_PIN_CLKOS": str(self.output_hz / 1e6), "o_CLKOS": self.clock,
            }
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Loop filter of Lattice's own generator.
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            a_FREQUENCY_PIN_CLKI=str(self.input_hz / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(first_hz / 1e6),
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA", p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=dividers.reference, p_CLKFB_DIV=dividers.feedback,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=dividers.output,
            p_CLKOP_CPHASE=dividers.output // 2 - 1, p_CLKOP_FPHASE=0,
            i_CLKI=buffer.i, i_CLKFB=first, i_RST=0, i_STDBY=0, i_PLLWAKESYNC=0,
            i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_ENCLKOP=0,
            o_CLKOP=first, o_LOCK=self.locked, **second,
        )
        return m


@dataclass(frozen=True, slots=True)
class Ice40Dividers:
    """Dividers of SB_PLL40, as its parameters: ``f = input / (r + 1) * (f + 1) / 2**q``."""

    r: int
    f: int
    q: int
    filter_range: int

    @classmethod
    def solve(cls, input_hz: int, output_hz: int) -> "Ice40Dividers":
        """Return the dividers with the fastest phase detector that give ``output_hz`` exactly."""
        for r in range(16):
            detector_hz = input_hz / (r + 1)
            if not 10e6 <= detector_hz <= 133e6:
                continue
            for q in range(1, 7):
                multiplier, remainder = divmod(output_hz * (r + 1) << q, input_hz)
                if not remainder and 1 <= multiplier <= 128 \
                        and 533e6 <= detector_hz * multiplier <= 1066e6:
                    return cls(r, multiplier - 1, q, _filter_range(detector_hz))
        raise BoardError(f"the iCE40 PLL cannot make {output_hz / 1e6:g} MHz from "
                         f"{input_hz / 1e6:g} MHz: choose another core clock")


def _filter_range(detector_hz: float) -> int:
    limits = (17e6, 26e6, 44e6, 66e6, 101e6)
    return 1 + sum(detector_hz >= limit for limit in limits)


class Ice40Pll(Pll):
    """SB_PLL40_PAD, which owns the oscillator's pin; see :class:`Pll`."""

    def elaborate(self, platform: object) -> Module:
        """Feed the primitive from the pad."""
        m = Module()
        dividers = Ice40Dividers.solve(self.input_hz, self.output_hz)
        pad: IOValue = self.port.io
        fabric = Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE", p_PLLOUT_SELECT="GENCLK",
            p_DIVR=dividers.r, p_DIVF=dividers.f, p_DIVQ=dividers.q,
            p_FILTER_RANGE=dividers.filter_range,
            i_PACKAGEPIN=pad, i_RESETB=1, i_BYPASS=0,
            o_PLLOUTGLOBAL=self.clock, o_PLLOUTCORE=fabric, o_LOCK=self.locked,
        )
        return m


@dataclass(frozen=True, slots=True)
class GowinDividers:
    """Dividers of rPLL with internal feedback: ``f = input * feedback / reference``."""

    reference: int
    feedback: int
    output: int

    @classmethod
    def solve(cls, input_hz: int, output_hz: int) -> "GowinDividers":
        """Return the dividers with the fastest phase detector, oscillator nearest 875 MHz."""
        for reference in range(1, 65):
            feedback, remainder = divmod(output_hz * reference, input_hz)
            if remainder or not 1 <= feedback <= 64 or not 3e6 <= input_hz / reference <= 500e6:
                continue
            outputs = [n for n in (2, 4, 8, *range(16, 129, 16))
                       if 500e6 <= output_hz * n <= 1250e6]
            if outputs:
                output = min(outputs, key=lambda n: abs(output_hz * n - 875e6))
                return cls(reference, feedback, output)
        raise BoardError(f"the Gowin PLL cannot make {output_hz / 1e6:g} MHz from "
                         f"{input_hz / 1e6:g} MHz: choose another core clock")


class GowinPll(Pll):
    """rPLL of a GW2A; see :class:`Pll`."""

    def elaborate(self, platform: object) -> Module:
        """Buffer the pin and feed the primitive."""
        m = Module()
        dividers = GowinDividers.solve(self.input_hz, self.output_hz)
        m.submodules.buffer = buffer = io.Buffer("i", self.port)
        m.submodules.pll = Instance(
            "rPLL", p_DEVICE=platform.family, p_FCLKIN=f"{self.input_hz / 1e6:g}",
            p_IDIV_SEL=dividers.reference - 1, p_FBDIV_SEL=dividers.feedback - 1,
            p_ODIV_SEL=dividers.output, p_CLKFB_SEL="internal",
            i_CLKIN=buffer.i, i_CLKFB=Const(0, 1), i_RESET=Const(0, 1), i_RESET_P=Const(0, 1),
            i_FBDSEL=Const(0, 6), i_IDSEL=Const(0, 6), i_ODSEL=Const(0, 6), i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4), i_FDLY=Const(0, 4),
            o_CLKOUT=self.clock, o_LOCK=self.locked,
        )
        return m
