"""One POST to an address that a stranger chose.

APPSEC: the name is looked up once, every address it stands for is judged, and the connection goes to an address that
was judged: a name that answers differently the second time (DNS rebinding) has no second time. Host, SNI and
certificate are those of the name. Redirects are not followed, proxies of the environment are not used, and no more
of the answer is read than its head and the beginning of an error.

One deadline covers everything from connecting to the status line, however slowly the receiver drips. It does not
interrupt the name look-up itself, which ends by the time-outs of the system's resolver.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult

from config.addresses import is_public, parse_address
from config.webhooks import split_url

#: Bytes of a refusing answer's body that are kept, for the operator who asks why.
EXCERPT_BYTES = 200

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said."""

    status: int
    retry_after: str | None
    excerpt: str


class DeliveryFailed(Exception):
    """The receiver could not be reached or did not answer. Another attempt may fare better."""


class TargetRefused(DeliveryFailed):
    """The address must not be called. Another attempt would be refused the same way."""


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until it is over.

        Raises:
            TimeoutError: when it is.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within {self._seconds:g} s")
        return left


class _Incoming(io.RawIOBase):
    """Reads from a socket until the deadline, whatever the number of reads."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.left())
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `http.client.HTTPResponse` asks of a socket."""
        return io.BufferedReader(self)


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float, allow_private: bool) -> Answer:
    """Send the body and return what the receiver answered, whichever status that is.

    Raises:
        TargetRefused: when the address is malformed, or stands for private addresses only and those are not allowed.
        DeliveryFailed: when there was no answer.
    """
    try:
        target = split_url(url)
    except ValueError as ex:
        raise TargetRefused(f"the address {ex}") from None
    deadline = _Deadline(timeout_seconds)
    try:
        addresses = _addresses(target, allow_private=allow_private)
        with contextlib.closing(_connect(target, addresses, deadline)) as sock:
            return _exchange(sock, _request(target, body, headers), deadline)
    except TimeoutError:
        raise DeliveryFailed(f"no answer within {timeout_seconds:g} s") from None
    except ssl.SSLError as ex:
        raise DeliveryFailed(f"TLS: {getattr(ex, 'verify_message', '') or ex.reason or ex}") from None
    except http.client.HTTPException as ex:
        raise DeliveryFailed(f"not an HTTP answer: {type(ex).__name__}") from None
    except OSError as ex:
        raise DeliveryFailed(f"{type(ex).__name__}: {ex.strerror or ex}") from None


def _addresses(target: SplitResult, *, allow_private: bool) -> list[tuple[Any, ...]]:
    """Socket addresses of the target that may be called.

    Raises:
        TargetRefused: when it stands for others only.
        OSError: when the name is not known.
    """
    port = target.port or _PORTS[target.scheme]
    host = target.hostname or ""
    try:
        found = [info[4] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except UnicodeError:
        raise TargetRefused(f"{host[:100]} is not a host name") from None
    allowed = [address for address in found if allow_private or is_public(parse_address(str(address[0])))]
    if not allowed:
        raise TargetRefused(
            f"{host} stands for {found[0][0]}, which is not on the public internet;"
            " STATEWAVE_WEBHOOK_ALLOW_PRIVATE=true would allow it"
        )
    return allowed


def _connect(target: SplitResult, addresses: list[tuple[Any, ...]], deadline: _Deadline) -> socket.socket:
    """A connection to the first address that accepts one, encrypted if the target says so."""
    problem: OSError = OSError("no address")
    for number, address in enumerate(addresses):
        share = deadline.left() / (len(addresses) - number)
        try:
            sock = _open(address, share)
        except OSError as ex:
            problem = ex
            continue
        if target.scheme == "http":
            return sock
        try:
            sock.settimeout(deadline.left())
            return _tls().wrap_socket(sock, server_hostname=target.hostname)
        except BaseException:
            sock.close()
            raise
    raise problem


def _open(address: tuple[Any, ...], timeout: float) -> socket.socket:
    # Connecting the looked-up tuple itself keeps the scope of an IPv6 address and looks nothing up again.
    sock = socket.socket(socket.AF_INET6 if len(address) == 4 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _request(target: SplitResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    path = target.path or "/"
    host = f"[{target.hostname}]" if ":" in (target.hostname or "") else target.hostname
    lines = [
        f"POST {path}{f'?{target.query}' if target.query else ''} HTTP/1.1",
        f"Host: {host}{f':{target.port}' if target.port else ''}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _exchange(sock: socket.socket, request: bytes, deadline: _Deadline) -> Answer:
    sock.settimeout(deadline.left())
    # A receiver may answer and close before it has read everything; its answer counts.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(request)
    response = http.client.HTTPResponse(_Incoming(sock, deadline), method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
        return Answer(response.status, response.getheader("Retry-After"), _excerpt(response))
    finally:
        response.close()


def _excerpt(response: http.client.HTTPResponse) -> str:
    """The beginning of the body of an answer that is no success, as far as it came with one read."""
    if 200 <= response.status < 300:
        return ""
    try:
        text = response.read1(EXCERPT_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
