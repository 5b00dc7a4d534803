"""KEDA's triggers: their queries run here as they are, on a real database, as the role that KEDA logs in with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import jsonschema
import psycopg
import pytest

from config.queues import QUEUES
from tests.deployment.manifests import K8S, of_kind

KEDA = "overlays/keda"

#: The scaler of each queue that has one.
SCALERS = {scaler["metadata"]["labels"]["statewave.dev/fleet"]: scaler for scaler in of_kind(KEDA, "ScaledObject")}

#: The part of KEDA's own schema that we use, written from its documentation; whatever else is refused.
STRICT: dict[str, Any] = {"type": "object", "additionalProperties": False}
COUNT = {"type": "integer", "minimum": 0}
TRIGGER = {
    **STRICT,
    "required": ["type", "name", "metricType", "authenticationRef", "metadata"],
    "properties": {
        "type": {"const": "postgresql"},
        "name": {"type": "string"},
        "metricType": {"enum": ["AverageValue", "Value"]},
        "authenticationRef": {**STRICT, "required": ["name"], "properties": {"name": {"type": "string"}}},
        "metadata": {
            **STRICT,
            "required": ["query", "targetQueryValue"],
            # KEDA takes strings only, numbers too.
            "properties": {"query": {"type": "string"}, "targetQueryValue": {"type": "string", "pattern": r"^\d+$"}},
        },
    },
}
SPEC = {
    **STRICT,
    "required": ["scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers"],
    "properties": {
        "scaleTargetRef": {**STRICT, "properties": {key: {"type": "string"} for key in ("apiVersion", "kind", "name")}},
        "minReplicaCount": COUNT,
        "maxReplicaCount": COUNT,
        "pollingInterval": COUNT,
        "cooldownPeriod": COUNT,
        "advanced": {
            **STRICT,
            "properties": {
                "horizontalPodAutoscalerConfig": {**STRICT, "properties": {"behavior": {"type": "object"}}},
            },
        },
        "triggers": {"type": "array", "minItems": 1, "items": TRIGGER},
    },
}


@pytest.fixture
def as_autoscaler(database: str) -> Iterator[psycopg.Connection]:
    """A connection as the role that `autoscaler.sql` makes."""
    statements = (K8S / KEDA / "autoscaler.sql").read_text().replace(":'password'", "'secret'")
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(statements)
        try:
            with psycopg.connect(database, user="statewave_autoscaler", password="secret", autocommit=True) as conn:
                yield conn
        finally:
            owner.execute("drop owned by statewave_autoscaler; drop role statewave_autoscaler")


def queries(queue: str) -> tuple[str, str]:
    """The queries of the depth and of the age of a queue."""
    found = {trigger["name"]: trigger["metadata"]["query"] for trigger in SCALERS[queue]["spec"]["triggers"]}
    return found["depth"], found["age"]


def add_run(
    database: str, queue: str, *, state: str = "pending", due_for: int = 0, leased_for: int | None = None
) -> None:
    """A run that has been due for so many seconds, and whose lease ends in so many."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "insert into runs (id, tenant_id, kind, queue, stage, state, run_after, lease_until, finished_at)"
            " values (%s, %s, 'compile', %s, 'compile', %s, now() - make_interval(secs => %s),"
            " now() + make_interval(secs => %s), case when %s in ('pending', 'running') then null else now() end)",
            (uuid4(), f"tenant-{uuid4()}", queue, state, due_for, leased_for, state),
        )


@pytest.mark.parametrize("queue", sorted(SCALERS))
def test_a_scaler_is_what_keda_takes(queue: str) -> None:
    jsonschema.validate(SCALERS[queue]["spec"], SPEC)
    assert SCALERS[queue]["spec"]["minReplicaCount"] < SCALERS[queue]["spec"]["maxReplicaCount"]
    (authentication,) = of_kind(KEDA, "TriggerAuthentication")
    for trigger in SCALERS[queue]["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]


def test_the_login_is_given_by_its_parts() -> None:
    (authentication,) = of_kind(KEDA, "TriggerAuthentication")
    parameters = {reference["parameter"] for reference in authentication["spec"]["secretTargetRef"]}
    assert parameters == {"host", "port", "userName", "password", "dbName", "sslmode"}


def test_what_is_scaled_are_queues() -> None:
    assert set(SCALERS) == set(QUEUES) - {"maintenance"}


def test_an_idle_queue_asks_for_nothing(as_autoscaler: psycopg.Connection) -> None:
    for queue in SCALERS:
        assert [scalar(as_autoscaler, query) for query in queries(queue)] == [0.0, 0.0]


def test_depth_counts_what_is_due_or_being_done_of_every_tenant(
    as_autoscaler: psycopg.Connection, database: str
) -> None:
    add_run(database, "compile", due_for=30)
    add_run(database, "compile", state="running", due_for=30, leased_for=30)
    add_run(database, "compile", due_for=-60)
    add_run(database, "compile", state="completed", due_for=30)
    add_run(database, "compile", state="failed", due_for=30)
    add_run(database, "webhooks", due_for=30)
    assert scalar(as_autoscaler, queries("compile")[0]) == 2
    assert scalar(as_autoscaler, queries("webhooks")[0]) == 1
    assert scalar(as_autoscaler, queries("llm")[0]) == 0


def test_age_is_that_of_the_longest_due_run_that_nobody_works_on(
    as_autoscaler: psycopg.Connection, database: str
) -> None:
    add_run(database, "llm", state="running", due_for=900, leased_for=30)
    assert scalar(as_autoscaler, queries("llm")[1]) == 0
    add_run(database, "llm", due_for=40)
    assert 40 <= scalar(as_autoscaler, queries("llm")[1]) < 900
    add_run(database, "llm", state="running", due_for=2000, leased_for=-1)  # its worker died
    assert scalar(as_autoscaler, queries("llm")[1]) >= 2000


def test_a_huge_backlog_is_not_counted_to_its_end(as_autoscaler: psycopg.Connection) -> None:
    for queue, scaler in SCALERS.items():
        (depth,) = [trigger for trigger in scaler["spec"]["triggers"] if trigger["name"] == "depth"]
        assert "limit 10000" in queries(queue)[0]
        assert int(depth["metadata"]["targetQueryValue"]) * scaler["spec"]["maxReplicaCount"] <= 10_000


@pytest.mark.parametrize(
    "statement",
    [
        "select tenant_id from runs",
        "select params from runs",
        "select * from runs",
        "select count(*) from episodes",
        "select count(*) from memories",
        "update runs set state = 'cancelled'",
        "delete from runs",
        "set role statewave_operator",
    ],
)
def test_the_login_reads_nothing_else(as_autoscaler: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_autoscaler.execute(statement)


def scalar(conn: psycopg.Connection, query: str) -> float:
    row = conn.execute(query).fetchone()
    assert row is not None
    assert isinstance(row[0], float), "KEDA reads a float"
    return row[0]
