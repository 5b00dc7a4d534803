"""A receiver of webhooks that takes everything and costs next to nothing: it counts and answers 204."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class WebhookReceiver:
    """Where it listens, and how many messages it has taken."""

    url: str
    taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> None:
        with self._lock:
            self.taken += 1


@contextmanager
def receiving() -> Iterator[WebhookReceiver]:
    """A receiver on a free port of the loopback address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while chunk := self.request.recv(65536):
                data += chunk
                head, end, body = data.partition(b"\r\n\r\n")
                length = _LENGTH.search(head + b"\r\n")
                if end and length is not None and len(body) >= int(length[1]):
                    receiver.count()
                    self.request.sendall(_ANSWER)
                    data = b""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = WebhookReceiver(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
