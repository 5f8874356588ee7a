"""How many cycles a program takes: the control of the core, cycle by cycle, without its data.

Nothing in the hardware's timing depends on data, so this model is exact, not an estimate; the
tests hold it equal to the RTL. It mirrors the registers of ``hw/{sequencer,descriptor,nest,fetch,
load,stream,post}.py`` one for one.
"""

from systolith.sw.timing.model import Standstill, measure
from systolith.sw.timing.nests import NestTiming, Timing
from systolith.sw.timing.training import timed_form

__all__ = ["NestTiming", "Standstill", "Timing", "measure", "timed_form"]
