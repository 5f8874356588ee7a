"""The device ``sim:``: the accelerator's own RTL, compiled, behind the link of a real one.

``sim:?byte_cycles=333&trace=wave.fst`` slows the link to one byte in 333 clock cycles, a UART of
3 Mbaud beside a clock of 100 MHz, and records a waveform.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from pathlib import Path
from urllib.parse import parse_qsl

from systolith import hw
from systolith.hw.config import Config
from systolith.hw.top import Accelerator
from systolith.sim.simulation import Simulation
from systolith.sim.verilator import compile_library
from systolith.sim.verilog import to_verilog
from systolith.sw.backend import DeviceError
from systolith.sw.link.backend import LinkBackend, device_errors
from systolith.sw.link.link import Link
from systolith.sw.transport import Transport

__all__ = ["Options", "SimulatedDevice", "SimulatedTransport", "build_accelerator", "open_device"]

#: Clock of simulated seconds; it sets what the link's timeouts mean and nothing else.
CLOCK_HZ = 100_000_000
#: Bytes after the first one for which a read waits, so that Python is not called for every byte.
_GATHERED_BYTES = 32
#: Cycles without any answer after which requests are sent again: the link's buffers, twice over,
#: and an ample wait for memory.
_ANSWER_BYTES, _ANSWER_CYCLES = 8192, 20_000


@dataclass(frozen=True, slots=True)
class Options:
    """What may follow ``sim:?`` in a device's URL."""

    #: Clock cycles the link takes for a byte.
    byte_cycles: int = 1
    #: Waveform file to write.
    trace: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Options":
        """Read ``?name=value&...``, or nothing; ``DeviceError`` says what is wrong with it."""
        if text and not text.startswith("?"):
            raise DeviceError(f"sim:{text} is not understood; write sim: or sim:?trace=wave.fst")
        values = dict(parse_qsl(text[1:], keep_blank_values=True))
        for name in values:
            if name not in ("byte_cycles", "trace"):
                raise DeviceError(f"sim: has no option {name!r}; there are byte_cycles, trace")
        cycles, trace = values.get("byte_cycles", "1"), values.get("trace")
        if not cycles.isdecimal() or not 1 <= int(cycles) <= 1_000_000:
            raise DeviceError(f"byte_cycles must be 1 to 1000000, not {cycles!r}")
        if trace == "":
            raise DeviceError("trace needs a file name, for example sim:?trace=wave.fst")
        return cls(int(cycles), None if trace is None else Path(trace))


class SimulatedTransport(Transport):
    """The pipe into a simulation. Time is simulated: it passes in ``read`` only.

    So a run does not depend on how fast or busy the machine is, and a device that hangs uses up
    its cycles and then counts as silent.
    """

    name = "sim:"

    def __init__(self, simulation: Simulation):
        self.simulation = simulation
        self._gather_cycles = _GATHERED_BYTES

    def pace(self, byte_cycles: int) -> None:
        """Let a byte take so many clock cycles from now on; 1 at the start."""
        self.simulation.pace(byte_cycles)
        self._gather_cycles = _GATHERED_BYTES * byte_cycles

    def write(self, data: bytes) -> None:
        """Queue all bytes for the device."""
        self.simulation.send(data)

    def read(self, limit: int, timeout: float) -> bytes:
        """Run until the device sends, ``timeout`` simulated seconds at most."""
        if self.simulation.run(max(1, ceil(timeout * CLOCK_HZ)), 1):
            self.simulation.run(self._gather_cycles, limit)
        return self.simulation.receive(limit)

    def close(self) -> None:
        """End the simulation."""
        self.simulation.close()

    def clock(self) -> float:
        """Return simulated seconds since the start."""
        return self.simulation.cycles / CLOCK_HZ


def build_accelerator(config: Config, *, trace: bool = False) -> Path:
    """Return the compiled simulation of an accelerator; a look-up unless its RTL has changed.

    Raises
    ------
    BuildError
        If a tool is missing or fails.
    """
    digest = hashlib.sha256(f"{config.to_json()} {version('amaranth')}".encode())
    for path in sorted(Path(hw.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return compile_library(lambda: to_verilog(Accelerator(config)), identity=digest.digest(),
                           trace=trace)


class SimulatedDevice(LinkBackend):
    """The backend ``sim:``: a link over a :class:`SimulatedTransport`."""

    def __init__(self, transport: SimulatedTransport, *, byte_cycles: int = 1):
        self._transport = transport
        transport.pace(byte_cycles)
        super().__init__(Link(transport, timeout=_timeout(byte_cycles), clock=transport.clock,
                              seed=0))

    def pace(self, byte_cycles: int) -> None:
        """Let the link take so many clock cycles for a byte from now on, in each direction."""
        self._transport.pace(byte_cycles)
        self.link.timeout = _timeout(byte_cycles)

    @property
    def cycles(self) -> int:
        """Clock cycles simulated so far, transfers included."""
        return self._transport.simulation.cycles


def _timeout(byte_cycles: int) -> float:
    """Return the simulated seconds after which requests are sent again."""
    return (_ANSWER_CYCLES + _ANSWER_BYTES * byte_cycles) / CLOCK_HZ


def open_device(rest: str, config: Config | None) -> SimulatedDevice:
    """Build (once) and start the device ``sim:`` + ``rest``.

    Parameters
    ----------
    rest
        Nothing, or ``?`` and :class:`Options` as ``name=value`` with ``&`` between.
    config
        The accelerator to simulate.

    Raises
    ------
    DeviceError
        If the URL makes no sense or the device does not answer.
    BuildError
        If the simulation cannot be built.
    """
    options = Options.parse(rest)
    if config is None:
        raise DeviceError("sim: can be any accelerator; give it a configuration or a program")
    library = build_accelerator(config, trace=options.trace is not None)
    try:
        simulation = Simulation(library, trace=options.trace)
    except OSError as error:
        raise DeviceError(f"sim: cannot start: {error}") from error
    try:
        with device_errors():
            return SimulatedDevice(SimulatedTransport(simulation),
                                   byte_cycles=options.byte_cycles)
    except BaseException:
        simulation.close()
        raise
