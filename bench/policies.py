"""What governing costs: a context, one under an enforcing policy, and one with a signed receipt besides.

Two tenants hold the same conversation. One of them has a policy in force and labels on every fifth memory, so that a
part of every answer is withheld. The three kinds of requests take turns in one process, so that whatever else the
machine does happens to all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from psycopg.types.json import Jsonb

from bench.conversation import Conversation, load_directory
from bench.ingestion import SOURCE
from cli.text_layout import table
from config.settings import Settings
from pipelines.compile import compile_now
from pipelines.context import ContextRequest
from pipelines.embedders import open_embedder
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.policy import bundles
from pipelines.principal import SHARED
from pipelines.receipts import emission
from pipelines.receipts.body import Correlation
from pipelines.services import Services
from storage.embedded_postgres import EmbeddedPostgres
from storage.migrate import migrate
from storage.transactions import open_pool, operator_transaction, statements_sent

PLAIN, GOVERNED = "plain", "governed"

#: Kinds of requests: whose tenant, whether a receipt is written, and what they are called in the table.
KINDS = (
    (PLAIN, False, "without a policy"),
    (GOVERNED, False, "under an enforcing policy"),
    (GOVERNED, True, "the same, with a receipt"),
)
KEY_ID = "bench"
SIGNING_KEYS = {KEY_ID: bytes(range(32))}
SUBJECT = "bench"
TOKENS = 1000

#: Every fifth memory is labelled; of those every fifth so that it is redacted, the others so that they are denied.
LABEL_SOME = """
update memories set sensitivity_labels = array[case when n %% 25 = 0 then 'health' else 'private' end]
  from (select id as numbered, row_number() over (order by id) as n from memories where tenant_id = %(tenant)s) m
 where id = numbered and n %% 5 = 0
"""

POLICY = {
    "version": 1,
    "rules": [
        {"id": "private", "when": {"memory_has_any_label": ["private"], "caller_type": "bench"}, "action": "deny"},
        {"id": "health", "when": {"memory_has_any_label": ["health"]}, "action": "redact"},
        {"id": "legal", "when": {"memory_has_all_labels": ["legal", "private"]}, "action": "deny"},
    ],
}


class Sample(NamedTuple):
    """One request: seconds on the clock, of the processor here and in the database, and statements."""

    seconds: float
    python: float
    postgres: float
    statements: int


def main() -> None:
    """Print the medians and the difference."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=300, help="of each kind")
    arguments.add_argument("--conversations", type=Path, default=Path(__file__).parent / "conversations")
    chosen = arguments.parse_args()
    told = load_directory(chosen.conversations)
    with tempfile.TemporaryDirectory(prefix="statewave-bench-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder), durable=False)
        server.start()
        try:
            _measure(server.url(), told, chosen.requests)
        finally:
            server.stop()


def _measure(database_url: str, told: list[Conversation], requests: int) -> None:
    migrate(database_url)
    settings = Settings(database_url=database_url, receipt_signing_keys=SIGNING_KEYS)
    pool = open_pool(database_url, size=1)
    services = Services(settings=settings, pool=pool, embedder=open_embedder(settings), ping_broker=lambda: None)
    for tenant in (PLAIN, GOVERNED):
        _tell(services, tenant, told)
    labelled = _govern(services)
    questions = [question.text for conversation in told for question in conversation.questions]
    with pool.connection() as conn:
        backend = conn.info.backend_pid
    samples: dict[str, list[Sample]] = {name: [] for _, _, name in KINDS}
    for number in range(-20, requests):
        for turn in range(len(KINDS)):
            tenant, with_receipt, name = KINDS[(number + turn) % len(KINDS)]
            before = _now(backend)
            _ask(services, tenant, questions[number % len(questions)], with_receipt=with_receipt)
            if number >= 0:
                samples[name].append(
                    Sample(*(after - start for after, start in zip(_now(backend), before, strict=True)))
                )
    pool.close()
    print(f"context of {TOKENS} tokens, {labelled} labelled memories, {requests} requests of each kind")
    print(render(samples))


def render(samples: Mapping[str, Sequence[Sample]]) -> str:
    """The medians of each kind, and what they are over those of the first."""
    medians = {
        name: [statistics.median(values) for values in zip(*taken, strict=True)] for name, taken in samples.items()
    }
    plain = next(iter(medians.values()))
    rows = []
    for name, (seconds, python, postgres, statements) in medians.items():
        used = python + postgres
        row = [name, f"{seconds * 1000:.2f}", overhead(seconds, plain[0]), f"{python * 1000:.2f}"]
        rows.append([*row, f"{postgres * 1000:.2f}", overhead(used, plain[1] + plain[2]), f"{statements:.0f}"])
    return table(
        ["context in process", "ms", "over plain", "Python ms", "PostgreSQL ms", "over plain", "statements"], rows
    )


def percent_over(value: float, plain: float) -> float:
    """By how many percent a value exceeds the plain one."""
    return (value / plain - 1) * 100


def overhead(value: float, plain: float) -> str:
    """`percent_over`, to be read."""
    return f"{percent_over(value, plain):+.1f} %"


def _now(backend: int) -> tuple[float, float, float, int]:
    """The clock, this thread's processor time, that of the database's process in seconds, and statements sent."""
    try:
        database = int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        database = 0.0  # Only Linux tells.
    return time.perf_counter(), time.thread_time(), database, statements_sent.get()


def _ask(services: Services, tenant: str, task: str, *, with_receipt: bool) -> None:
    request = ContextRequest(subject_id=SUBJECT, task=task, max_tokens=TOKENS, caller_type="bench")
    correlation = Correlation()
    bundle = emission.context_with_receipt(services, tenant, request, asked=with_receipt, correlation=correlation)
    assert bundle.receipt_emitted == with_receipt


def _tell(services: Services, tenant: str, told: list[Conversation]) -> None:
    episodes = [
        NewEpisode(
            subject_id=SUBJECT,
            session_id=f"{number}-{session.id}",
            source=SOURCE,
            type="conversation",
            payload={
                "messages": [{"role": t.role, "name": t.speaker, "content": t.text} for t in session.turns[at : at + 2]]
            },
            occurred_at=session.started_at,
        )
        for number, conversation in enumerate(told)
        for session in conversation.sessions
        for at in range(0, len(session.turns), 2)
    ]
    append_episodes(services, tenant, episodes, request_id=None)
    while compile_now(services, tenant, SUBJECT, request_id=None).has_more:
        pass


def _govern(services: Services) -> int:
    bundles.upload(services, GOVERNED, json.dumps(POLICY), activate=True, principal=SHARED)
    with operator_transaction(services.pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values (%s, %s)",
            (GOVERNED, Jsonb({"policy_mode": "enforce", "receipt_signing_key_id": KEY_ID})),
        )
        return conn.execute(LABEL_SOME, {"tenant": GOVERNED}).rowcount


if __name__ == "__main__":
    main()
