"""The benchmark's HTTP driver against a server that answers in inconvenient ways."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from bench.wire import Measurement, drive, encode


class Inconvenient(socketserver.StreamRequestHandler):
    """Answers in two pieces, with a body of the size asked for; closes the connection after every third request."""

    def handle(self) -> None:
        for _ in range(3):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            size = int(head.split(b" ")[1].rsplit(b"/", 1)[1])
            length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
            body = self.rfile.read(length)
            self.server.seen.append((size, len(body)))  # type: ignore[attr-defined]
            status = b"200 OK" if size else b"409 Conflict"
            answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
            self.wfile.write(answer[:20])
            self.wfile.flush()
            self.wfile.write(answer[20:])


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Inconvenient)
        self.seen: list[tuple[int, int]] = []


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def send(server: Server, requests: list[bytes], connections: int = 3) -> Measurement:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return drive(url, requests, connections=connections, seconds_at_most=30)


def test_every_request_is_answered_once_although_connections_close(server: Server) -> None:
    sizes = [1, 2, 300_000, 5, 70_000, 6, 7, 8, 9, 10, 11]
    measured = send(server, [encode("GET", f"/{size}", host="here") for size in sizes])
    assert sorted(size for size, _ in server.seen) == sorted(sizes)
    assert len(measured.latencies) == len(sizes)
    assert measured.statuses == {200: len(sizes)}
    assert measured.errors == 0


def test_large_bodies_arrive_whole(server: Server) -> None:
    body = b"y" * 3_000_000
    send(server, [encode("POST", "/1", body, host="here")] * 4)
    assert server.seen == [(1, len(body))] * 4


def test_errors_are_counted_and_the_first_is_kept(server: Server) -> None:
    measured = send(server, [encode("GET", "/0", host="here"), encode("GET", "/1", host="here")], connections=1)
    assert measured.errors == 1
    assert measured.failure is not None
    assert "409 Conflict" in measured.failure


def test_nothing_more_is_sent_when_the_time_is_up(server: Server) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    measured = drive(url, [encode("GET", "/1", host="here")] * 5, connections=2, seconds_at_most=0)
    assert measured.latencies == []
    assert server.seen == []
