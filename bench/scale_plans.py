"""What each query of a request touches: every statement the server sends is explained, in place, as it is sent.

Nothing is listed here by hand. The product's own functions run over a connection whose cursor puts `explain (analyze,
buffers)` before each statement, inside a savepoint that is rolled back; so the plans are those of the real statements
with their real parameters, and a new statement shows up by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import msgspec

from storage import messages
from storage.messages import Answers, Connection
from storage.messages import send as messages_send
from storage.transactions import CountingCursor, Pool, open_pool

#: What is no query: transactions and settings.
_NO_PLAN = ("begin", "commit", "rollback", "savepoint", "release", "set ", "explain", "lock ")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One statement of a request. Buffers are pages of 8 kB; `read` are those that shared buffers did not hold."""

    request: str
    statement: str
    milliseconds: float
    rows: int
    rows_scanned: int
    buffers_hit: int
    buffers_read: int
    nodes: list[str]


class _Explaining(CountingCursor):
    """Explains every statement before it executes it."""

    request = ""
    found: list[Plan] = []  # noqa: RUF012 - one recording at a time, made anew by `explain`

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        text = query if isinstance(query, str) else query.as_string(self.connection)
        if not text.lstrip().lower().startswith(_NO_PLAN):
            self.found.append(self._explain(text, params))
        return super().execute(query, params, prepare=prepare, binary=binary)

    def _explain(self, text: str, params: Any) -> Plan:
        with self.connection.cursor() as cursor:
            CountingCursor.execute(cursor, "savepoint explained")  # type: ignore[arg-type]
            CountingCursor.execute(cursor, f"explain (analyze, buffers, format json) {text}", params)  # type: ignore[arg-type]
            (document,) = cursor.fetchone() or ([],)
            CountingCursor.execute(cursor, "rollback to savepoint explained")  # type: ignore[arg-type]
        top = _decoded(document)[0]
        plan = top["Plan"]
        nodes = _nodes(plan)
        return Plan(
            request=self.request,
            statement=" ".join(text.split())[:120],
            milliseconds=round(top["Execution Time"], 3),
            rows=int(plan["Actual Rows"]),
            rows_scanned=int(sum(_scanned(node) for node in nodes)),
            buffers_hit=plan.get("Shared Hit Blocks", 0),
            buffers_read=plan.get("Shared Read Blocks", 0),
            nodes=[_named(node) for node in nodes if "Scan" in node["Node Type"]],
        )

    @classmethod
    def send(cls, conn: Connection, statements: bytes) -> Answers:
        """Of a message that begins or ends a transaction, what is no part of that. Functions are explained as a whole:
        their time and pages, without the nodes inside them."""
        queries = [text for text in statements.decode().split("; ") if not text.lower().startswith(_NO_PLAN)]
        begins = statements.startswith(b"begin")
        answers = messages_send(conn, statements) if begins else None
        for query in queries:
            with cls(conn) as cursor:
                cls.found.append(cursor._explain(query, None))
        return answers or messages_send(conn, statements)


def explain(database_url: str, requests: dict[str, Callable[[Pool], object]]) -> list[Plan]:
    """Run each request once unseen, so that caches are warm, then once explained."""
    found: list[Plan] = []
    for name, run in requests.items():
        pool = open_pool(database_url, size=1)
        try:
            run(pool)
            conn = pool.getconn()
            recording = type("_Recording", (_Explaining,), {"request": name, "found": found})
            conn.cursor_factory = recording
            pool.putconn(conn)
            messages.send = recording.send  # type: ignore[attr-defined, assignment]
            run(pool)
        finally:
            messages.send = messages_send
            pool.close()
    return found


def _decoded(document: Any) -> Any:
    return msgspec.json.decode(document) if isinstance(document, msgspec.Raw | str | bytes) else document


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def _scanned(node: dict[str, Any]) -> float:
    if "Scan" not in node["Node Type"] or "Relation Name" not in node:
        return 0.0
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + removed) * node.get("Actual Loops", 1))


def _named(node: dict[str, Any]) -> str:
    over = node.get("Index Name") or node.get("Relation Name") or node.get("Function Name") or ""
    return f"{node['Node Type']} {over}".strip()
