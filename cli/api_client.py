"""A small client of the HTTP API for our own tools: JSON over one kept-alive connection, stdlib only."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Self, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

#: Episodes in one batch request: the API's limit.
BATCH_LIMIT = 100
#: Seconds to wait for one answer; a first compile of a large subject takes the longest.
TIMEOUT_SECONDS = 60.0
#: Times a request is repeated when the server answers "not now" with a Retry-After.
BUSY_RETRIES = 20
#: Seconds to wait for that at most; a monthly quota says to come back next month.
LONGEST_WAIT_SECONDS = 60.0

Json: TypeAlias = dict[str, Any]


class ServerUnreachable(Exception):
    """Nothing answers HTTP at the given address."""


class RequestFailed(Exception):
    """The server refused a request; the text carries its status, code, message and details."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer and the milliseconds from the first byte sent to the last received."""

    body: Json
    milliseconds: float


class ApiClient:
    """Calls of the v1 API that the demo and the benchmarks make. Not safe to share between threads."""

    def __init__(self, url: str, *, api_key: str | None = None, tenant_id: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"Not the address of a server: {url!r} (expected something like http://localhost:8100)")
        self.url = f"{parts.scheme}://{parts.netloc}"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "statewave-cli"}
        if api_key:
            self._headers["X-API-Key"] = api_key
        if tenant_id:
            self._headers["X-Tenant-ID"] = tenant_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def version(self) -> Json:
        return self.request("GET", "/v1/version").body

    def add_episodes(self, episodes: list[Json]) -> int:
        """Send episodes in batches, in order, and return how many the server acknowledged."""
        acknowledged = 0
        for start in range(0, len(episodes), BATCH_LIMIT):
            body = {"episodes": episodes[start : start + BATCH_LIMIT]}
            acknowledged += self.request("POST", "/v1/episodes/batch", body).body["episodes_created"]
        return acknowledged

    def compile(self, subject_id: str) -> list[Json]:
        """Compile until nothing of the subject is left, and return the memories that made."""
        created: list[Json] = []
        has_more = True
        while has_more:
            body = self.request("POST", "/v1/memories/compile", {"subject_id": subject_id}).body
            created += body["memories"]
            has_more = bool(body.get("has_more"))
        return created

    def context(self, subject_id: str, task: str, *, max_tokens: int) -> Answer:
        body = {"subject_id": subject_id, "task": task, "max_tokens": max_tokens}
        return self.request("POST", "/v1/context", body)

    def timeline(self, subject_id: str, *, limit: int = 100) -> Json:
        query = urlencode({"subject_id": subject_id, "limit": limit})
        return self.request("GET", f"/v1/timeline?{query}").body

    def delete_subject(self, subject_id: str) -> Json:
        return self.request("DELETE", f"/v1/subjects/{quote(subject_id, safe='')}").body

    def request(self, method: str, path: str, body: Json | None = None) -> Answer:
        """Send one request; wait and repeat while the server says that it is busy.

        Raises:
            ServerUnreachable: when nothing answers.
            RequestFailed: when the answer is an error.
        """
        for attempt in range(BUSY_RETRIES + 1):
            status, headers, answer = self._exchange(method, path, body)
            retry_after = headers.get("Retry-After")
            if status < 400 or retry_after is None or attempt == BUSY_RETRIES:
                break
            wait = float(retry_after)
            if wait > LONGEST_WAIT_SECONDS:
                break
            time.sleep(wait)
        if status >= 400:
            raise _failure(method, path, status, answer.body)
        return answer

    def _exchange(self, method: str, path: str, body: Json | None) -> tuple[int, http.client.HTTPMessage, Answer]:
        payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        started = time.perf_counter()
        try:
            response, raw = self._send(method, self._prefix + path, payload)
        except (OSError, http.client.HTTPException) as ex:
            self._connection.close()
            raise ServerUnreachable(f"No server answers at {self.url} ({str(ex) or type(ex).__name__})") from ex
        elapsed = (time.perf_counter() - started) * 1000
        return response.status, response.headers, Answer(_decoded(raw), elapsed)

    def _send(self, method: str, path: str, payload: bytes | None) -> tuple[http.client.HTTPResponse, bytes]:
        reused = self._connection.sock is not None
        try:
            self._connection.request(method, path, body=payload, headers=self._headers)
            response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not reused:
                raise
            # A kept-alive connection may be closed at any time; only a fresh one failing means trouble.
            self._connection.close()
            return self._send(method, path, payload)
        return response, response.read()


def _decoded(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {"items": body}


def _failure(method: str, path: str, status: int, body: Json) -> RequestFailed:
    error = body.get("error")
    if not isinstance(error, dict):
        error = {}
    details = f" {json.dumps(error['details'])}" if error.get("details") else ""
    code, message = str(error.get("code", "unknown")), error.get("message", "no message")
    return RequestFailed(status, code, f"{method} {path} was answered {status} {code}: {message}{details}")
