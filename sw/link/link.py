"""The sliding-window protocol, host side: every request answered once, in order, or an error."""

import random
import time
from collections.abc import Callable

from systolith.hw.link.protocol import RECENT, Opcode, Status, buffer_bytes
from systolith.sw.link.framing import FrameDecoder, encode_frame
from systolith.sw.link.requests import Request, Response, parse_response
from systolith.sw.transport import Transport

__all__ = ["Link", "LinkError", "Refused"]

_MODULUS = 1 << 16


class LinkError(Exception):
    """The device does not answer; the message says for how long and what to do."""


class Refused(LinkError):
    """The device answered a request with an error; it was not executed.

    Attributes
    ----------
    request : Request
        The request, with its response.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        super().__init__(f"the device refused {request.describe()}: {request.response.status.name}")


class Link:
    """A session with a device over a byte pipe.

    Requests are sent in order, several at a time, within the device's memory of outcomes
    (``RECENT``) and the size of its receive buffer. What is lost is sent again; the device executes
    every write exactly once. A request that disturbs an unanswered read waits for its answer.

    Nothing happens between calls: there is no thread.

    Parameters
    ----------
    transport : Transport
        The pipe.
    timeout : float
        Seconds without any answer until unanswered requests are sent again.
    retries : int
        Times in a row that may happen before the device counts as gone.
    clock, seed : Callable, int
        For tests: seconds that pass, and where session numbers come from.

    Attributes
    ----------
    retransmissions : int
        Frames sent again so far.

    Raises
    ------
    LinkError
        If no device answers, in bounded time.
    """

    def __init__(self, transport: Transport, *, timeout: float = 0.25, retries: int = 12,
                 clock: Callable[[], float] = time.monotonic, seed: int | None = None) -> None:
        self.transport = transport
        self.timeout = timeout
        self.retries = retries
        self.retransmissions = 0
        self._clock = clock
        self._random = random.Random(seed)
        self._decoder = FrameDecoder()
        self._capacity = 0
        self._next = 0
        self._flight: dict[int, Request] = {}
        self._failed: Refused | None = None
        self._missed: int | None = None
        self._strange: int | None = None
        self._open()

    # -- public -----------------------------------------------------------------------------

    def set_frame_bytes(self, frame_bytes: int) -> None:
        """Use the receive buffer of a device with this ``Config.frame_bytes``."""
        self._capacity = buffer_bytes(frame_bytes) - 1

    def send(self, request: Request) -> None:
        """Send a request as soon as the window and unanswered reads allow; not wait for its answer.

        Raises
        ------
        LinkError
            If the device is gone, or refused an earlier write.
        """
        while not self._fits(request):
            self._wait()
        self._raise_failed()
        request.sequence = self._next
        self._next = (self._next + 1) % _MODULUS
        self._flight[request.sequence] = request
        self._transmit(request)

    def call(self, request: Request) -> bytes:
        """Send a request and return its answer's payload; all requests before are done then.

        Raises
        ------
        LinkError
            If the device is gone, or refused this or an earlier request.
        """
        self.send(request)
        return self.finish(request)

    def flush(self) -> None:
        """Wait until every request is answered.

        Raises
        ------
        LinkError
            If the device is gone, or refused one.
        """
        while self._flight:
            self._wait()
        self._raise_failed()

    def finish(self, request: Request) -> bytes:
        """Wait until a request that was sent and all before it are answered; return its payload.

        Raises
        ------
        LinkError
            If the device is gone, or refused this or an earlier request.
        """
        while self._flight and (request.sequence - next(iter(self._flight))) % _MODULUS < RECENT:
            self._wait()
        self._raise_failed()
        return request.response.payload

    def close(self) -> None:
        """Close the pipe."""
        self.transport.close()

    # -- session ----------------------------------------------------------------------------

    def _open(self) -> None:
        """Make the device expect a number far from those of any earlier session.

        The first HELLO is only there to learn what the device expects; the second one must
        name that, so a stale one does nothing.
        """
        expected = self._random.randrange(_MODULUS)
        for _ in range(self.retries):
            start = (expected + _MODULUS // 2 + self._random.randrange(256)) % _MODULUS
            response = self._hello(start, expected)
            expected = response.expected
            if expected == (start + 1) % _MODULUS:
                self._next = expected
                return
        raise LinkError(f"{self.transport.name}: the device does not keep a session; is another "
                        "program using it?")

    def _hello(self, sequence: int, expected: int) -> Response:
        request = Request(Opcode.HELLO, address=expected, sequence=sequence)
        for _ in range(self.retries):
            self._transmit(request)
            deadline = self._clock() + self.timeout
            while (left := deadline - self._clock()) > 0:
                for response in self._receive(left):
                    if (response.opcode, response.sequence) == (Opcode.HELLO.value, sequence):
                        return response
        raise LinkError(f"{self.transport.name}: no answer for {self.retries * self.timeout:.0f} s;"
                        " check that the bitstream is loaded and the baud rate is its own")

    # -- sending ----------------------------------------------------------------------------

    def _transmit(self, request: Request) -> None:
        self.transport.write(encode_frame(request.packet))

    def _fits(self, request: Request) -> bool:
        if not self._flight:
            return True
        oldest = next(iter(self._flight))
        stored = sum(flying.stored_bytes for flying in self._flight.values())
        return ((self._next - oldest) % _MODULUS < RECENT
                and stored + request.stored_bytes <= self._capacity
                and not any(request.disturbs(flying) for flying in self._flight.values()))

    def _resend(self, requests: list[Request]) -> None:
        for request in requests:
            request.resent = True
            self.retransmissions += 1
            self._transmit(request)

    # -- receiving --------------------------------------------------------------------------

    def _receive(self, timeout: float) -> list[Response]:
        packets = self._decoder.feed(self.transport.read(1 << 16, timeout))
        return [response for packet in packets if (response := parse_response(packet))]

    def _wait(self) -> None:
        """Wait until a request is answered, sending again what seems lost."""
        for _ in range(self.retries):
            deadline = self._clock() + self.timeout
            while (left := deadline - self._clock()) > 0:
                before = len(self._flight)
                for response in self._receive(left):
                    self._accept(response)
                if len(self._flight) < before:
                    return
            self._resend(list(self._flight.values()))
        raise LinkError(f"{self.transport.name}: {self._why_gone()}; then open the device again")

    def _why_gone(self) -> str:
        if self._strange is not None:
            return (f"the device expects request {self._strange}, this program is at {self._next}: "
                    "it was reset, or another program opened it; close that one")
        oldest = next(iter(self._flight.values()))
        return (f"the device stopped answering: {oldest.describe()} was sent {self.retries + 1} "
                "times; check cable and power")

    def _accept(self, response: Response) -> None:
        if response.status is Status.OUT_OF_ORDER:
            self._go_back(response.expected)
            return
        request = self._flight.get(response.sequence)
        if request is None or not request.answered_by(response):
            return
        numbers = list(self._flight)
        passed = numbers[:numbers.index(response.sequence)]
        del self._flight[response.sequence]
        request.response = response
        self._missed = self._strange = None
        if response.status is not Status.OK and self._failed is None:
            self._failed = Refused(request)
        # The device answers in order: an answer that was passed by is lost.
        self._resend([self._flight[n] for n in passed if not self._flight[n].resent])

    def _go_back(self, expected: int) -> None:
        """Send the request that the device missed and all after it again, once."""
        if expected not in self._flight:
            self._strange = expected
        elif expected != self._missed:
            self._missed = expected
            numbers = list(self._flight)
            self._resend([self._flight[n] for n in numbers[numbers.index(expected):]])

    def _raise_failed(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed
