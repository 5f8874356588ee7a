"""The device ``machine:``: the instruction-level model behind the driver's interface."""

from collections.abc import Callable

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import CSRS, Fault
from systolith.hw.registers import identity
from systolith.sim.machine import Machine
from systolith.sim.training.machine import TrainingMachine
from systolith.sw.backend import Backend, DeviceError
from systolith.sw.program_view import IllegalInstruction
from systolith.sw.timing import Standstill, Timing, measure, timed_form

__all__ = ["MachineDevice", "open_device"]

#: Timings of training programs that are kept: a step has a few.
_KEPT = 32


class MachineDevice(Backend):
    """A device that computes at once: every job is done when its submission returns.

    Its CYCLES and ENTRIES are those of the cycle model, which is exact.
    """

    def __init__(self, config: Config):
        self.config = config
        self.machine = TrainingMachine(config) if config.training else Machine(config)
        self._csrs = {csr.name: 0 for csr in CSRS} | identity(config, 0)
        self._timing: Timing | None = None
        #: Of training programs, which come again with other seeds and shifts.
        self._timings: dict[bytes, Timing] = {}

    def fetch_csrs(self, names: tuple[str, ...]) -> Callable[[], dict[str, int]]:
        """Read registers by name."""
        values = {name: self._csrs[name] for name in names}
        return lambda: values

    def write_csr(self, name: str, value: int) -> None:
        """Write a register; SUBMIT runs a job, CONTROL resets."""
        if name == "SUBMIT":
            self._run()
        elif name == "CONTROL":
            for counter in ("STATUS", "DONE", "CYCLES", "ENTRIES", "FAULT_PC"):
                self._csrs[counter] = 0
        else:
            self._csrs[name] = int(value)

    def write_memory(self, address: int, elements: np.ndarray) -> None:
        """Write elements."""
        self._check(address, len(elements), self.config.memory_elements, "memory")
        self.machine.memory[0, address:address + len(elements)] = elements

    def fetch_memory(self, address: int, count: int) -> Callable[[], np.ndarray]:
        """Read a copy of elements."""
        self._check(address, count, self.config.memory_elements, "memory")
        elements = self.machine.memory[0, address:address + count].copy()
        return lambda: elements

    def write_program(self, words: np.ndarray) -> None:
        """Write the program memory."""
        self._check(0, len(words), self.config.program_words, "the program memory")
        self.machine.words = np.array(words, np.uint32)
        self._timing = None

    def flush(self) -> None:
        """Do nothing: every call has already taken effect."""

    def close(self) -> None:
        """Do nothing: there is no device to give back."""

    @staticmethod
    def _check(address: int, count: int, size: int, what: str) -> None:
        if not 0 <= address <= address + count <= size:
            raise DeviceError(f"{count} elements at {address} lie beyond the {size} of {what}")

    def _run(self) -> None:
        odd, watchdog = self._csrs["DONE"] & 1, self._csrs["WATCHDOG"]
        self._csrs["DONE"] += 1
        try:
            if self._timing is None:
                self._timing = self._measured()
            if 0 < watchdog < self._timing.cycles - 1:
                self._stop(Fault.WATCHDOG, CYCLES=watchdog + 1)
                return
            self.machine.run(input_delta=self._csrs["INPUT_DELTA"] * odd,
                             output_delta=self._csrs["OUTPUT_DELTA"] * odd)
        except IllegalInstruction as error:
            self._stop(Fault.BAD_INSTRUCTION, FAULT_PC=error.pc)
        except Standstill:                        # a device would wait until its watchdog bites
            self._stop(Fault.WATCHDOG, CYCLES=watchdog + 1)
        else:
            self._csrs["CYCLES"] = self._timing.cycles
            self._csrs["ENTRIES"] = self._timing.entries

    def _measured(self) -> Timing:
        """Return the program's timing; that of an earlier one that differs in numbers only."""
        words = self.machine.words
        if not self.config.training:
            return measure(self.config, words)
        form = timed_form(words).tobytes()
        if form not in self._timings:
            if len(self._timings) > _KEPT:
                self._timings.clear()
            self._timings[form] = measure(self.config, words)
        return self._timings[form]

    def _stop(self, fault: Fault, **figures: int) -> None:
        """End a job with a fault, which stays until reset."""
        self._csrs |= {"STATUS": fault.value << 4, **figures}


def open_device(rest: str, config: Config | None) -> MachineDevice:
    """Open ``machine:``; ``config`` says which device it is.

    Raises
    ------
    DeviceError
        If there is no configuration, or the URL goes on.
    """
    if rest:
        raise DeviceError(f"machine: takes nothing behind it, not {rest!r}")
    if config is None:
        raise DeviceError("machine: can be any accelerator; give it a configuration or a program")
    return MachineDevice(config)
