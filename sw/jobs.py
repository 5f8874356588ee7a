"""The jobs of a loaded program: what is transferred while what computes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, product

import numpy as np

from systolith.hw.isa import Fault
from systolith.sw.backend import PROGRESS, Backend, DeviceError
from systolith.sw.buffers import Buffer
from systolith.sw.program import Program
from systolith.sw.results import Result

__all__ = ["Jobs"]

#: Registers by name.
Figures = dict[str, int]


class Jobs:
    """Jobs submitted and collected since a program was loaded.

    Two jobs are under way, and buffers alternate between them. What is transferred for a third one
    goes both ways at once: its input follows the request for the first one's result, and the
    question how far the second one is goes ahead of the input's last frame, so that the answers
    are there when the input is.

    Parameters
    ----------
    backend : Backend
        The device; it has just been reset and holds the program.
    program : Program
        What it runs.

    Attributes
    ----------
    stopped : bool
        A job was stopped by a fault; nothing more can be run.
    """

    def __init__(self, backend: Backend, program: Program) -> None:
        self.backend = backend
        self.program = program
        self.stopped = False
        self._ahead = 2 if program.input_delta and program.output_delta else 1
        self._submitted = self._collected = 0
        #: How far the device was when it was last asked.
        self._progress: Callable[[], Figures] | None = None
        if program.input_delta:
            self._write_halos()

    def stream(self, images: Iterable[Sequence[np.ndarray]]) -> Iterator[Result]:
        """Yield the result of each image, in order; see :meth:`systolith.sw.device.Device.stream`.

        Raises
        ------
        DeviceError
            If the device fails or stops a job.
        """
        self._discard()
        under_way: deque[int] = deque()          # images of the jobs not yet collected
        for group in _grouped(images, self.program.batch):
            pieces = [self._piece(buffer, place, array) for place, image in enumerate(group)
                      for buffer, array in zip(self.program.inputs, image, strict=True)]
            full = len(under_way) == self._ahead
            collect = self._collect(under_way.popleft()) if full else None
            self._write(pieces)
            self.backend.submit()
            self._submitted += 1
            under_way.append(len(group))
            if collect:
                yield from collect()
        while under_way:
            yield from self._collect(under_way.popleft())()

    def _write_halos(self) -> None:
        """Write what lies around the images, once: two input buffers are nothing else's place."""
        for job, image, buffer in product(range(2), range(self.program.batch),
                                          self.program.inputs):
            address, halo = buffer.place(job, image), np.full(
                buffer.elements, buffer.tensor.zero_point, np.int8)
            for part in (slice(0, buffer.span.start), slice(buffer.span.stop, buffer.elements)):
                if part.start < part.stop:
                    self.backend.write_memory(address + part.start, halo[part])

    def _piece(self, buffer: Buffer, image: int, array: np.ndarray) -> tuple[int, np.ndarray]:
        """Return where the next job's input changes with the image, and the elements there."""
        span = buffer.span if self.program.input_delta else slice(0, buffer.elements)
        return buffer.place(self._submitted, image) + span.start, buffer.pack(array)[span]

    def _write(self, pieces: list[tuple[int, np.ndarray]]) -> None:
        """Write the next job's inputs, and ask for progress before the last frame."""
        address, elements = pieces.pop()
        frame = self.program.config.frame_bytes // elements.itemsize
        last = (len(elements) - 1) // frame * frame
        if last:
            pieces.append((address, elements[:last]))
        for piece in pieces:
            self.backend.write_memory(*piece)
        self._progress = self.backend.fetch_csrs(PROGRESS)
        self.backend.write_memory(address + last, elements[last:])

    def _collect(self, images: int) -> Callable[[], Iterator[Result]]:
        """Wait for the oldest job and begin to read its first images' outputs.

        Returns
        -------
        Callable
            Gives the results.
        """
        job, outputs = self._collected, self.program.outputs
        figures = self._wait(job + 1)
        fetched = [[self.backend.fetch_memory(buffer.place(job, image), buffer.elements)
                    for buffer in outputs] for image in range(images)]
        self._collected += 1
        own = figures["DONE"] == self._collected
        cycles, entries = (figures[name] if own else None for name in ("CYCLES", "ENTRIES"))

        def results() -> Iterator[Result]:
            for of_image in fetched:
                yield Result(tuple(buffer.unpack(elements()) for buffer, elements
                                   in zip(outputs, of_image, strict=True)), cycles, entries)
        return results

    def _discard(self) -> None:
        """Finish what an abandoned stream has left behind."""
        if self._collected < self._submitted:
            self._wait(self._submitted)
            self._collected = self._submitted

    def _wait(self, jobs: int) -> Figures:
        """Return the progress registers once that many jobs are done; the watchdog bounds it."""
        progress, self._progress = self._progress, None
        while True:
            figures = progress() if progress else self.backend.read_csrs(PROGRESS)
            progress = None
            fault = Fault(figures["STATUS"] >> 4 & 15)
            if fault is not Fault.NONE:
                self.stopped = True
                raise DeviceError(
                    f"job {figures['DONE']} was stopped: {fault.name} at program word "
                    f"{figures['FAULT_PC']} after {figures['CYCLES']} cycles; load the program "
                    "again, and if that does not help the bitstream")
            if figures["DONE"] >= jobs:
                return figures


def _grouped(images: Iterable[Sequence[np.ndarray]],
             size: int) -> Iterator[list[Sequence[np.ndarray]]]:
    """Yield so many images at a time; the last time perhaps fewer."""
    rest = iter(images)
    while group := list(islice(rest, size)):
        yield group
