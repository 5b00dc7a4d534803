"""The books: what was sent and acknowledged, and what the database holds of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from storage.children import last_lines
from tests.fixtures.stack import RunningStack

#: Seconds without any progress after which a drill has failed: longer than the longest lease and backoff here.
PATIENCE_SECONDS = 120.0

_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ar", "en", "ost")]

_COUNTS = """
select (select count(*) from episodes where tenant_id = %(tenant)s) as episodes,
       (select coalesce(sum(compiled_count), 0) from subjects where tenant_id = %(tenant)s) as compiled,
       (select coalesce(sum(episode_count), 0) from subjects where tenant_id = %(tenant)s) as counted,
       (select coalesce(sum(passage_count), 0) from subjects where tenant_id = %(tenant)s) as passages,
       (select count(*) from memories where tenant_id = %(tenant)s) as memories,
       (select count(distinct e) from memories, unnest(source_episode_ids) as e
         where tenant_id = %(tenant)s) as remembered,
       (select count(*) from stage_outputs where tenant_id = %(tenant)s) as staged,
       (select count(*) from runs where tenant_id = %(tenant)s and state in ('pending', 'running')) as unfinished,
       (select count(*) from runs where tenant_id = %(tenant)s and state = 'failed') as dead
"""


@dataclass(slots=True)
class Books:
    """One tenant's episodes over a stack. Every episode says something that no other says, in one turn."""

    stack: RunningStack
    tenant: str = field(default_factory=lambda: f"t-{uuid4()}")
    acknowledged: int = 0
    refused: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    def send(self, subject: str, count: int, *, client: httpx.Client | None = None) -> bool:
        """Send a batch; whether it was acknowledged. One that was not is not sent again."""
        body = {"episodes": [self._episode(subject) for _ in range(count)]}
        try:
            with self._client() if client is None else _kept(client) as http:
                accepted = http.post("/v1/episodes/batch", json=body).status_code == 201
        except httpx.HTTPError:
            accepted = False
        if accepted:
            self.acknowledged += count
        else:
            self.refused += count
        return accepted

    def send_all(self, *, subjects: int, episodes: int, per_batch: int) -> None:
        """Send so many episodes of each subject, in turns; all of them must be acknowledged."""
        with self._client() as client:
            for _ in range(episodes // per_batch):
                for number in range(subjects):
                    assert self.send(f"s{number}", per_batch, client=client)

    def request_compile(self, subject: str) -> str:
        """Ask for a compile by a worker; the run's id."""
        with self._client() as client:
            answer = client.post("/v1/memories/compile", json={"subject_id": subject, "async": True})
            answer.raise_for_status()
            return str(answer.json()["job_id"])

    def counts(self) -> dict[str, int]:
        """What the database holds of the tenant."""
        with operator(self.stack) as conn:
            found = conn.cursor(row_factory=dict_row).execute(_COUNTS, {"tenant": self.tenant}).fetchone()
        assert found is not None
        return {name: int(value) for name, value in found.items()}

    def settle(self) -> dict[str, int]:
        """Wait until everything is done, for as long as it goes forward; the counts then."""
        latest = self.counts()
        while latest["unfinished"] or latest["compiled"] != latest["episodes"]:
            before = latest

            def moved(before: dict[str, int] = before) -> bool:
                nonlocal latest
                latest = self.counts()
                return latest != before

            if not eventually(moved):
                logs = "".join(f"\n{c.name}:{last_lines(c.log_path, 40)}" for c in self.stack.processes.values())
                pytest.fail(f"not settled: {latest}{self._unsettled()}{logs}")
        return latest

    def _unsettled(self) -> str:
        """What stands in the way: the runs that are left, and what the database's sessions do."""
        with operator(self.stack) as conn:
            left = conn.execute(
                "select id, state, stage, attempts, crashes, fence, run_after - now(), lease_until - now(),"
                "       woken_at - now(), claimed_at - now()"
                "  from runs where tenant_id = %s and state in ('pending', 'running')",
                (self.tenant,),
            ).fetchall()
            sessions = conn.execute(
                "select pid, state, wait_event, now() - xact_start, pg_blocking_pids(pid), left(query, 120)"
                "  from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            ).fetchall()
        return "".join(f"\n    {' '.join(str(value) for value in row)}" for row in (*left, *sessions))

    def balance(self, *, dead: int = 0) -> dict[str, int]:
        """Wait, then see to it that every acknowledged episode was compiled exactly once and nothing else is there."""
        found = self.settle()
        n = self.acknowledged
        assert found == {
            "episodes": n,
            "compiled": n,
            "counted": n,
            "remembered": n - dead,
            "memories": n - dead,
            "passages": 2 * (n - dead),
            "staged": 0,
            "unfinished": 0,
            "dead": dead,
        }
        return found

    def crashes(self) -> int:
        """How many leases of the tenant's runs ran out."""
        with operator(self.stack) as conn:
            row = conn.execute(
                "select count(*) from runs, jsonb_array_elements(errors) as e"
                " where tenant_id = %s and e ->> 'error' in ('the worker died', 'the worker went silent')",
                (self.tenant,),
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.stack.base_url, headers={"X-Tenant-ID": self.tenant}, timeout=30)

    def _episode(self, subject: str) -> dict[str, Any]:
        words = ["".join(self._random.choices(_SYLLABLES, k=3)) for _ in range(10)]
        return {
            "subject_id": subject,
            "source": "drill",
            "type": "note",
            "payload": {"messages": [{"role": "user", "content": " ".join(words) + "."}]},
        }


@contextmanager
def _kept(client: httpx.Client) -> Iterator[httpx.Client]:
    yield client


@contextmanager
def operator(stack: RunningStack) -> Iterator[psycopg.Connection[Any]]:
    """A connection that sees all tenants."""
    with psycopg.connect(stack.database_url, autocommit=True) as conn:
        conn.execute("set role statewave_operator")
        yield conn


def eventually(happens: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether it happens before our patience is over."""
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def readiness(stack: RunningStack) -> tuple[int, str, Sequence[dict[str, Any]]]:
    """What `/readyz` says: HTTP status, status, checks."""
    answer = httpx.get(f"{stack.base_url}/readyz", timeout=30)
    body = answer.json()
    return answer.status_code, body["status"], body["checks"]
