"""Drive HTTP with many kept-alive connections from one thread, at little cost to the machine under test.

Client and server share their cores here, so the client does next to nothing: requests are encoded before the clock
starts, and of an answer only the status and the length are read. One request is in flight on each connection.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RECEIVE_BYTES = 256 * 1024


@dataclass(slots=True)
class Measurement:
    """What a drive saw: a latency in milliseconds for each answer, answers by status, and the time it all took.

    `client_cpu_seconds` is what the driver itself used of the cores it shares with the server.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failure: str | None = None
    seconds: float = 0.0
    client_cpu_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 400)


def encode(method: str, path: str, body: bytes = b"", *, host: str, headers: Mapping[str, str] | None = None) -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def drive(url: str, requests: Sequence[bytes], *, connections: int, seconds_at_most: float) -> Measurement:
    """Send the requests in order, each on the next free connection, until all are answered or the time is up.

    Raises:
        ConnectionError: when the server closes a connection in the middle of an answer.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    measurement = Measurement()
    waiting = iter(requests)
    cpu_before, started = time.process_time(), time.perf_counter()
    deadline = started + seconds_at_most
    with selectors.DefaultSelector() as selector:
        lines = [_Connection(address, selector) for _ in range(min(connections, len(requests)))]
        try:
            busy = sum(line.send_next(waiting, deadline) for line in lines)
            while busy:
                for key, events in selector.select():
                    line: _Connection = key.data
                    if events & selectors.EVENT_WRITE:
                        line.write()
                    if events & selectors.EVENT_READ and line.read(measurement):
                        busy -= not line.send_next(waiting, deadline)
        finally:
            for line in lines:
                line.close()
    measurement.seconds = time.perf_counter() - started
    measurement.client_cpu_seconds = time.process_time() - cpu_before
    return measurement


class _Connection:
    """One kept-alive connection, with at most one request in flight."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address = address
        self._selector = selector
        self._in_flight = False
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self)
        return connection

    def send_next(self, waiting: Iterator[bytes], deadline: float) -> bool:
        """Send the next request; False when there is none or the time is up."""
        request = next(waiting, None) if time.perf_counter() < deadline else None
        if request is None:
            return False
        self._request = request
        self._in_flight = True
        self._started = time.perf_counter()
        self._begin()
        return True

    def _begin(self) -> None:
        self._unsent = memoryview(self._request)
        self._answer = bytearray()
        self._expected: int | None = None
        self.write()

    def write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
            return
        except (BrokenPipeError, ConnectionResetError):
            self._reconnect()
            return
        self._selector.modify(self._socket, selectors.EVENT_READ, self)

    def read(self, measurement: Measurement) -> bool:
        """Take what arrived; True when the answer is complete."""
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            received = b""
        if not received:
            if self._in_flight:
                self._reconnect()
            else:
                self.close()
            return False
        self._answer += received
        if self._expected is None:
            self._expected = _answer_length(self._answer)
        if self._expected is None or len(self._answer) < self._expected:
            return False
        self._in_flight = False
        measurement.latencies.append((time.perf_counter() - self._started) * 1000)
        status = int(self._answer[9:12])
        measurement.statuses[status] += 1
        if status >= 400 and measurement.failure is None:
            measurement.failure = bytes(self._answer[:600]).decode(errors="replace")
        return True

    def _reconnect(self) -> None:
        """A server may close an idle connection as a request is on its way; that request is sent again."""
        if self._answer:
            raise ConnectionError(f"connection closed in the middle of an answer: {bytes(self._answer[:200])!r}")
        self.close()
        self._socket = self._connect()
        self._begin()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._selector.unregister(self._socket)
            self._socket.close()


def _answer_length(answer: bytearray) -> int | None:
    """Bytes of the whole answer, once its head is there."""
    end = answer.find(_HEAD_END)
    if end < 0:
        return None
    found = _LENGTH.search(answer, 0, end + 2)
    if found is None:
        raise ConnectionError(f"an answer without Content-Length: {bytes(answer[:200])!r}")
    return end + len(_HEAD_END) + int(found[1])
