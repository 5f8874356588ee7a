"""The driver: load a program once, stream images through it, whatever the device is."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from urllib.parse import parse_qsl

import numpy as np

from systolith.hw.config import Config
from systolith.hw.isa import ISA_VERSION
from systolith.sw.backend import Backend, DeviceError
from systolith.sw.jobs import Jobs
from systolith.sw.link.backend import LinkBackend, device_errors
from systolith.sw.link.link import Link, LinkError
from systolith.sw.pipeline import Pipeline
from systolith.sw.program import Program
from systolith.sw.results import Result, Run
from systolith.sw.transport import SerialTransport

__all__ = ["Backend", "Device", "DeviceError", "LinkBackend", "Result", "Run", "open", "schemes"]

#: Called with what is done and what there is to do.
Progress = Callable[[int, int], None]
#: Entry points ``open_device(rest_of_url, config) -> Backend``, by URL scheme.
ENTRY_POINTS = "systolith.devices"
#: Bits per second that are tried in turn if the URL names none: those of the targets.
BAUDS = (3_000_000, 1_000_000)
#: Elements written between two reports of progress.
_PROGRESS_STEP = 1 << 14


class Device:
    """A device with a program in it. Use as a context manager, or ``close`` it.

    Parameters
    ----------
    backend : Backend
        The device.

    Raises
    ------
    DeviceError
        From every method: the device vanished, refused, or stopped a job.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.identity = backend.identify()
        #: What was loaded last: a network in segments, else None; and what the device holds.
        self._pipeline: Pipeline | None = None
        self._jobs: Jobs | None = None

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the device back."""
        self.backend.close()

    def describe(self) -> str:
        """One line for messages: array, memory and hash, as ``Config.describe``."""
        rows, columns, bits, _ = self.identity["ARRAY"].to_bytes(4, "little")
        banks, log2_words, lanes, _ = self.identity["MEMORY"].to_bytes(4, "little")
        kibibytes = (banks * lanes * bits // 8 << log2_words) // 1024
        return (f"{rows}x{columns} int{bits}, {kibibytes} KiB, "
                f"{self.identity['CONFIG_HASH']:08x}")

    def check(self, config: Config) -> None:
        """Raise ``DeviceError`` unless the device was built from this configuration."""
        version = self.identity["ISA_VERSION"]
        if version != ISA_VERSION:
            raise DeviceError(f"the device has instruction set {version}, this software "
                              f"{ISA_VERSION}: build and load a new bitstream")
        if self.identity["CONFIG_HASH"] != config.hash:
            raise DeviceError(f"made for {config.describe()}, but the device is "
                              f"({self.describe()}): compile for this device, or load its "
                              "bitstream")

    def load(self, program: Program | Pipeline, progress: Progress | None = None) -> None:
        """Stop what runs, and put a program and its weights into the device.

        ``progress`` counts elements and instruction words. A network in segments is only taken
        note of: its programs are loaded one after the other while it runs.

        Raises
        ------
        DeviceError
            If the program is for another configuration; nothing is touched then.
        """
        self.check(program.config)
        if isinstance(program, Pipeline):
            self._pipeline, self._jobs = program, None
        else:
            self._pipeline = None
            self._load(program, progress)

    def _load(self, program: Program, progress: Progress | None = None) -> None:
        self._jobs = None
        backend = self.backend
        backend.reset()
        total = len(program.words) + sum(len(elements) for _, elements in program.segments)
        done = 0
        for address, elements in program.segments:
            for first in range(0, len(elements), _PROGRESS_STEP):
                piece = elements[first:first + _PROGRESS_STEP]
                backend.write_memory(address + first, piece)
                done += len(piece)
                if progress:
                    progress(done, total)
        backend.write_program(program.words)
        backend.write_csr("INPUT_DELTA", program.input_delta)
        backend.write_csr("OUTPUT_DELTA", program.output_delta)
        # Generous: transfers slow a job down a little, and a hang is for ever.
        backend.write_csr("WATCHDOG", min(4 * program.predicted_cycles + 100_000, (1 << 32) - 1))
        jobs = Jobs(backend, program)
        backend.flush()
        if progress:
            progress(total, total)
        self._jobs = jobs

    def stream(self, images: Iterable[Sequence[np.ndarray]]) -> Iterator[Result]:
        """Yield the result of each image, in order, while the next ones are on their way.

        The images of job n + 2 are written to the input buffer of job n, and the results of n read,
        while n + 1 computes. So up to three jobs' images are taken before a result is given (two
        where memory has no room for two buffers). A job takes as many images as the program's
        batch; the last one may have fewer, and computes nonsense in the other places.

        Parameters
        ----------
        images : iterable of sequences of arrays
            For each image an array for each of the program's inputs.

        Raises
        ------
        ValueError
            If the network is one in segments: those run batch by batch.
        """
        if self._pipeline is not None:
            raise ValueError("a network with operations of the host runs in batches: use run")
        return self._loaded().stream(images)

    def run(self, *inputs: np.ndarray, progress: Progress | None = None) -> Run:
        """Run a batch of images; see :meth:`stream`. A network in segments takes it whole.

        Parameters
        ----------
        inputs : arrays
            For each of the program's inputs an array with the images along axis 0.
        progress : Callable
            Called with images done and images in all.

        Raises
        ------
        ValueError
            If the inputs differ in length, are empty, or are not as many as the program's.
        """
        network = self._pipeline or self._loaded().program
        count = len(network.inputs)
        lengths = {len(array) for array in inputs}
        if len(inputs) != count or len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"the program takes {count} inputs of one length, at least one image;"
                             f" there are {[len(array) for array in inputs]} images")
        if self._pipeline is not None:
            return self._run_pipeline(self._pipeline, inputs, progress)
        return self._run(self._loaded(), inputs, progress)

    def _run(self, jobs: Jobs, inputs: Sequence[np.ndarray], progress: Progress | None) -> Run:
        start = time.perf_counter()
        results = []
        for result in jobs.stream(zip(*inputs, strict=True)):
            results.append(result)
            if progress:
                progress(len(results), len(inputs[0]))
        return Run(
            tuple(np.stack(column) for column in zip(*(r.outputs for r in results), strict=True)),
            tuple(r.cycles for r in results if r.cycles is not None),
            tuple(r.entries for r in results if r.entries is not None),
            time.perf_counter() - start, batch=jobs.program.batch)

    def _run_pipeline(self, pipeline: Pipeline, inputs: tuple[np.ndarray, ...],
                      progress: Progress | None) -> Run:
        """Take a batch through all segments; loading them counts as running."""
        start = time.perf_counter()
        count = len(pipeline.programs)
        runs: list[Run] = []

        def advance(done: int, total: int) -> None:
            if progress:
                progress((len(runs) * total + done) // count, total)

        def run_program(program: Program, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            if self._jobs is None or self._jobs.program is not program:
                self._load(program)
            runs.append(self._run(self._loaded(), arrays, advance))
            return runs[-1].outputs

        outputs = pipeline.run(inputs, run_program)
        return Run.joined(outputs, runs, time.perf_counter() - start)

    def _loaded(self) -> Jobs:
        if self._jobs is None or self._jobs.stopped:
            raise DeviceError("no program is loaded; load one first")
        return self._jobs


def schemes() -> list[str]:
    """Return the URL schemes that ``open`` knows."""
    return sorted({"serial", *entry_points(group=ENTRY_POINTS).names})


def open(url: str, config: Config | None = None) -> Device:
    """Open a device by URL.

    Parameters
    ----------
    url : str
        ``serial:/dev/ttyUSB0?baud=1000000``, or a scheme of the entry points
        ``systolith.devices``, such as ``sim:`` and ``machine:``.
    config : Config
        What the device is to be; simulated devices need it, real ones are compared with it.

    Raises
    ------
    DeviceError
        If the URL makes no sense, no device answers, or it is not of this configuration.
    """
    scheme, colon, rest = url.partition(":")
    found = entry_points(group=ENTRY_POINTS, name=scheme)
    if colon and scheme == "serial":
        backend = _open_serial(rest)
    elif colon and found:
        backend = next(iter(found)).load()(rest, config)
    else:
        raise DeviceError(f"{url!r} names no device: write "
                          + " or ".join(f"{name}:..." for name in schemes()))
    try:
        device = Device(backend)
        if config is not None:
            device.check(config)
    except BaseException:
        backend.close()
        raise
    return device


def _open_serial(rest: str) -> Backend:
    """Open ``/dev/ttyUSB0`` or ``/dev/ttyUSB0?baud=1000000``."""
    port, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    baud = options.pop("baud", None)
    if not port or options or baud is not None and not baud.isdecimal():
        raise DeviceError(f"serial:{rest} is not understood; write serial:/dev/ttyUSB0, or "
                          f"serial:/dev/ttyUSB0?baud={BAUDS[0]}")
    bauds = BAUDS if baud is None else (int(baud),)
    with device_errors():
        for baud in bauds:
            transport = SerialTransport(port, baud)
            try:
                return LinkBackend(Link(transport))
            except LinkError:
                transport.close()
                if baud == bauds[-1]:
                    raise
            except BaseException:
                transport.close()
                raise
    raise AssertionError("the last rate returns or raises")
