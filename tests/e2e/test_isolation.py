"""What one tenant stores no other sees: no row, no count, no time, no word of an error, on no route there is.

The walk takes its routes from the served OpenAPI document, so routes that are added later are walked too. First the
victim fills every table it can through every route, all its texts bearing a mark. Then an intruder sends each route the
victim's ids, and beside each such request the same one with ids that exist nowhere: the answers must be the same.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import falcon.testing
import psycopg
import pytest

from api.app import create_app
from config.settings import Settings
from pipelines.embedders import open_embedder
from pipelines.services import Services
from storage.transactions import Pool, open_pool, operator_transaction
from tests.e2e.openapi_walk import Described, Sent, operations, send
from tests.fixtures.databases import DatabaseMaker

VICTIM, INTRUDER = "victim-tenant", "intruder-tenant"
MARK = "Quetzalcoatlus"
SUBJECT, SESSION = "subject-of-the-victim", "session-of-the-victim"

SHARED = {"X-API-Key": "the shared key of this server"}

#: Routes of tenants that give no answer to anybody here, and why.
UNANSWERED = {
    "POST /v1/llm/complete": "no model is configured",
    "GET /v1/memory-templates/{template_id}": "takes the name of one of the server's own files",
    "POST /v1/memory-templates/{template_id}/apply": "takes the name of one of the server's own files",
}

#: Routes that operators may not narrow to a tenant, and what they tell.
OF_THE_SERVER = {
    "GET /admin/connection-info": "how this server is set up",
    "GET /admin/dashboard": "numbers of the whole server",
    "GET /admin/embeddings": "numbers of the whole server",
    "GET /admin/erasures/{erasure_id}": "what the id names, of whatever tenant",
    "GET /admin/erasures/{erasure_id}/verify": "what the id names, of whatever tenant",
    "GET /admin/keys/{key_id}": "what the id names, of whatever tenant",
    "GET /admin/queues": "numbers of the whole server",
    "GET /admin/readiness-check": "how this server is set up",
    "GET /admin/receipts/{receipt_id}": "what the id names, of whatever tenant",
    "GET /admin/runs/{run_id}": "what the id names, of whatever tenant",
    "GET /admin/schedules": "when the server tidies up",
    "GET /admin/tenant-audit": "numbers of the default tenant",
    "GET /admin/tenants": "the names of all tenants",
    "GET /admin/webhooks/{event_id}": "what the id names, of whatever tenant",
    "GET /ops/migrations": "the schema",
    "DELETE /admin/jobs/{run_id}": "what the id names, of whatever tenant",
    "DELETE /admin/keys/{key_id}": "what the id names, of whatever tenant",
    "POST /admin/embeddings/migrate": "changes the whole server",
    "POST /admin/embeddings/prune": "changes the whole server",
    "POST /admin/embeddings/rollback": "changes the whole server",
    "POST /admin/erasures/{erasure_id}/prove": "what the id names, of whatever tenant",
    "POST /admin/jobs/reset-stuck": "changes the whole server",
    "POST /admin/keys/{key_id}/rotate": "what the id names, of whatever tenant",
    "POST /admin/policies/validate": "what was sent",
    "POST /admin/policy/reload": "nothing",
    "POST /admin/queues/{queue}/pause": "changes the whole server",
    "POST /admin/queues/{queue}/resume": "changes the whole server",
    "POST /admin/receipts/{receipt_id}/replay": "what the id names, of whatever tenant",
    "POST /admin/runs/{run_id}/cancel": "what the id names, of whatever tenant",
    "POST /admin/runs/{run_id}/retry": "what the id names, of whatever tenant",
    "POST /admin/webhooks/{event_id}/replay": "what the id names, of whatever tenant",
}


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """A server with the victim's rows in every table that routes lead to."""

    client: falcon.testing.TestClient
    pool: Pool
    walk: list[Described]
    #: Ids of the victim's rows, whatever they are of.
    ids: list[str]
    #: Routes that gave the victim itself an answer: so refusals of others are not for another reason.
    answered: set[str]


def as_tenant(tenant_id: str) -> dict[str, str]:
    return {**SHARED, "X-Tenant-ID": tenant_id}


@pytest.fixture(scope="module")
def world(new_database: DatabaseMaker) -> Iterator[World]:
    with new_database() as url:
        settings = Settings(database_url=url, api_key=SHARED["X-API-Key"])
        pool = open_pool(url, size=4)
        services = Services(settings=settings, pool=pool, embedder=open_embedder(settings), ping_broker=lambda: None)
        client = falcon.testing.TestClient(create_app(services))
        walk = operations(client.simulate_get("/openapi.json").json)
        answered = settle_in(client, walk, pool)
        yield World(client, pool, walk, sorted(ids_of(pool, VICTIM)), answered)
        pool.close()


def settle_in(client: falcon.testing.TestClient, walk: list[Described], pool: Pool) -> set[str]:
    """Store as much of the victim as routes can store: by hand what needs an order, the rest by walking.

    Returns:
        The routes that answered.
    """
    headers = as_tenant(VICTIM)
    answered = set()
    tell_a_story(client, headers)
    for described in walk:
        if described.method == "DELETE" or described.is_public:
            continue
        for id in [None, *ids_of(pool, VICTIM)] if takes_ids(described) else [None]:
            request = described.request(filling(id, subject=SUBJECT, session=SESSION, tenant=VICTIM), text=MARK)
            if send(client, request, headers).status_code < 300:
                answered.add(described.name)
    # Some of these routes may have taken it away again.
    tell_a_story(client, headers)
    return answered


def tell_a_story(client: falcon.testing.TestClient, headers: dict[str, str]) -> None:
    """Episodes of the victim, compiled into memories, by a job too, and delivered with receipts."""
    for number in range(3):
        body = {
            "subject_id": SUBJECT,
            "session_id": SESSION,
            "source": MARK,
            "type": "message",
            "metadata": {"note": MARK},
            "payload": {"messages": [{"role": "user", "content": f"My name is {MARK} and I live in Oslo {number}."}]},
        }
        assert client.simulate_post("/v1/episodes", json=body, headers=headers).status_code == 201
    for job in ({"async": True}, {}):
        compiled = client.simulate_post("/v1/memories/compile", json={"subject_id": SUBJECT, **job}, headers=headers)
        assert compiled.status_code in (200, 202), compiled.text
    asked = {"subject_id": SUBJECT, "task": MARK, "session_id": SESSION, "emit_receipt": True}
    for route in ("/v1/context", "/v1/handoff"):
        assert client.simulate_post(route, json=asked, headers=headers).json["receipt_emitted"]


def ids_of(pool: Pool, tenant_id: str) -> set[str]:
    """Ids of all rows of a tenant, a few of each table: of what are they does not matter."""
    found: set[str] = set()
    with operator_transaction(pool) as conn:
        tables = conn.execute(
            "select a.table_name, b.column_name from information_schema.columns a join information_schema.columns b"
            " using (table_schema, table_name)"
            " where table_schema = 'public' and a.column_name = 'tenant_id' and b.column_name = any(%s)",
            (["id", "receipt_id"],),
        ).fetchall()
        for table, column in tables:
            rows = conn.execute(
                f"select {column}::text from {table} where tenant_id = %s limit 2", (tenant_id,)
            ).fetchall()
            found |= {id for (id,) in rows}
    return found


def filling(id: str | None, *, subject: str, session: str, tenant: str) -> Callable[[str, dict[str, Any]], str]:
    """Fills ids in: what is named by name, and everything else with `id`, where it fits."""
    by_name = {
        **dict.fromkeys(("subject_id", "target_subject_id"), subject),
        "session_id": session,
        **dict.fromkeys(("tenant_id", "target_tenant_id"), tenant),
    }

    def fill(name: str, schema: dict[str, Any]) -> str:
        if name in by_name:
            return by_name[name]
        if id is not None:
            return id[: schema.get("maxLength")]
        return str(uuid4()) if schema.get("format") == "uuid" else "sample"

    return fill


def takes_ids(described: Described) -> bool:
    """Whether it takes an id besides those that have names everywhere."""
    return bool(described.id_fields().keys() - {"subject_id", "session_id", "tenant_id"})


def everything_of(pool: Pool, tenant_id: str) -> dict[str, list[str]]:
    """Every row of a tenant in every table, as text."""
    with operator_transaction(pool) as conn:
        tables = conn.execute(
            "select table_name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'tenant_id'"
        ).fetchall()
        return {
            table: sorted(
                row
                for (row,) in conn.execute(
                    f"select t::text from {table} t where tenant_id = %s", (tenant_id,)
                ).fetchall()
            )
            for (table,) in tables
        }


UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ULID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(Z|[+-]\d\d:\d\d)?")
DIGEST = re.compile(r"\b[0-9a-f]{32,128}\b|\b[A-Za-z0-9_-]{43}=?\b")
#: What the clock and the tokenizer make of it: that there is a number counts, not which.
MEASURED = re.compile(r'"(\w*(?:seconds|_ms|token\w*|length|size))":-?[0-9.e-]+')


def told(answer: falcon.testing.Result, *ids: str) -> tuple[int, str]:
    """What an answer says, but for ids, moments, and what differs each time."""
    text = answer.text
    for id in ids:
        text = text.replace(id, "<id>").replace(json.dumps(id)[1:-1], "<id>")
    text = re.sub(r'"request_id":"[^"]*"', '"request_id":"<id>"', text)
    for pattern in (UUID, ULID, MOMENT, DIGEST):
        text = pattern.sub("<id>", text)
    return answer.status_code, MEASURED.sub(r'"\1":<number>', text)


def twin(id: str) -> str:
    """An id of the same shape that is of nothing."""
    if UUID.fullmatch(id):
        return str(uuid4())
    if ULID.fullmatch(id):
        return id[:10] + "0123456789ABCDEF"
    return re.sub("[a-z]", "x", id)


def leaks(world: World, answer: falcon.testing.Result, sent: str) -> set[str]:
    """What the answer says of the victim, other than what it was told in the first place."""
    secrets = {MARK, SUBJECT, SESSION, VICTIM, *world.ids}
    return {secret for secret in secrets if secret in answer.text and secret not in sent}


def test_an_intruder_learns_nothing_with_the_victims_ids(world: World) -> None:
    before = everything_of(world.pool, VICTIM)
    assert {table for table, rows in before.items() if rows} >= {"episodes", "memories", "runs", "resolutions"}
    headers = as_tenant(INTRUDER)
    # What the intruder has sent in a body may be stored by now, as its own.
    sent_so_far = ""
    answered: set[str] = set()
    for described in world.walk:
        if described.is_operators or described.is_public:
            continue
        ids = world.ids if takes_ids(described) else world.ids[:1]
        for id in ids:
            other = twin(id)
            with_ids = described.request(
                filling(id, subject=SUBJECT, session=SESSION, tenant=VICTIM), text="Archaeopteryx"
            )
            without = described.request(
                filling(other, subject=twin(SUBJECT), session=twin(SESSION), tenant=twin(VICTIM)),
                text="Archaeopteryx",
            )
            sent_so_far += with_ids.text + without.text if with_ids.body is not None else ""
            answer, same = send(world.client, with_ids, headers), send(world.client, without, headers)
            names = (SUBJECT, SESSION, VICTIM, id, *map(twin, (SUBJECT, SESSION, VICTIM)), other)
            assert told(answer, *names) == told(same, *names), described.name
            assert leaks(world, answer, sent_so_far + with_ids.text) == set(), described.name
            assert answer.status_code < 500 or described.name.endswith("/llm/complete"), (described.name, answer.text)
            if answer.status_code < 300:
                answered.add(described.name)
    assert everything_of(world.pool, VICTIM) == before
    # Every route has been tried, and none of them refuses everybody.
    routes = {each.name for each in world.walk if not (each.is_operators or each.is_public)}
    deleting = {name for name in routes if name.startswith("DELETE")}
    assert world.answered | deleting | UNANSWERED.keys() >= routes
    assert not world.answered & UNANSWERED.keys()
    # Those that need no id of the victim's answer the intruder as well, about its own.
    open_to_all = {name for name in routes if "{" not in name.replace("{subject_id}", "")}
    assert answered >= open_to_all - UNANSWERED.keys()


def test_a_tenants_key_opens_nothing_of_another_and_no_operators_route(world: World) -> None:
    before = everything_of(world.pool, VICTIM)
    body = {"name": "intruder", "tenant_id": INTRUDER}
    key = world.client.simulate_post("/admin/keys", json=body, headers=SHARED).json["key"]
    for described in world.walk:
        if described.is_public:
            continue
        request = described.request(
            filling(world.ids[0], subject=SUBJECT, session=SESSION, tenant=VICTIM), text="Archaeopteryx"
        )
        named = send(world.client, request, {"X-API-Key": key, "X-Tenant-ID": VICTIM})
        assert (named.status_code, named.json["error"]["code"]) == (403, "tenant_mismatch"), described.name
        answer = send(world.client, request, {"X-API-Key": key})
        if described.is_operators:
            assert (answer.status_code, answer.json["error"]["code"]) == (403, "insufficient_scope"), described.name
        assert MARK not in answer.text, described.name
    after = everything_of(world.pool, VICTIM)
    assert after == before


def test_operators_who_name_a_tenant_see_and_change_that_tenant_alone(world: World) -> None:
    """Every route of operators that takes a tenant's id, asked about another tenant with the victim's ids."""
    before = everything_of(world.pool, VICTIM)
    asked = set()
    sent_so_far = ""
    for described in world.walk:
        if not described.is_operators or not described.id_fields().keys() & {"tenant_id", "target_tenant_id"}:
            continue
        asked.add(described.name)
        for id in world.ids if takes_ids(described) else world.ids[:1]:
            request = described.request(
                filling(id, subject=SUBJECT, session=SESSION, tenant="nobodys-tenant"), text="Archaeopteryx"
            )
            # What was sent may be stored, and listed, as that tenant's own.
            sent_so_far += request.text
            answer = send(world.client, request, SHARED)
            assert answer.status_code < 500, (described.name, answer.text)
            assert leaks(world, answer, sent_so_far) == set(), (described.name, answer.text)
    assert everything_of(world.pool, VICTIM) == before
    assert {each.name for each in world.walk if each.is_operators} == asked | OF_THE_SERVER.keys()
    assert not asked & OF_THE_SERVER.keys()


class TestRawSql:
    """The application role, on a connection of its own."""

    @pytest.fixture
    def conn(self, world: World) -> Iterator[psycopg.Connection[Any]]:
        headers = {**SHARED, "X-Tenant-ID": ""}
        episode = {"subject_id": "of nobody", "source": MARK, "type": "message", "payload": {"text": MARK}}
        assert world.client.simulate_post("/v1/episodes", json=episode, headers=headers).status_code == 201
        with psycopg.connect(world.pool.conninfo, autocommit=True) as conn:
            conn.execute("set role statewave_app")
            yield conn

    @pytest.fixture
    def tables(self, world: World) -> list[str]:
        with operator_transaction(world.pool) as conn:
            rows = conn.execute(
                "select relname from pg_class join pg_namespace n on n.oid = relnamespace"
                " where nspname = 'public' and relkind in ('r', 'p', 'v', 'm') and relname <> 'schema_migrations'"
            ).fetchall()
        return [name for (name,) in rows]

    def test_without_a_tenant_it_reads_nothing(self, conn: psycopg.Connection[Any], tables: list[str]) -> None:
        assert len(tables) > 10
        for table in tables:
            assert conn.execute(f"select * from {table}").fetchall() == [], table

    def test_without_a_tenant_it_changes_nothing(
        self, conn: psycopg.Connection[Any], tables: list[str], world: World
    ) -> None:
        before = everything_of(world.pool, VICTIM), everything_of(world.pool, "")
        for table in tables:
            try:
                assert conn.execute(f"delete from {table}").rowcount == 0, table
            except psycopg.errors.InsufficientPrivilege:
                continue
        assert (everything_of(world.pool, VICTIM), everything_of(world.pool, "")) == before

    def test_as_one_tenant_it_reads_no_other(self, conn: psycopg.Connection[Any], tables: list[str]) -> None:
        conn.execute("select set_config('app.tenant_id', 'tenant-without-rows', false)")
        for table in tables:
            if table != "access_revision":  # one number, the same for all
                assert conn.execute(f"select * from {table}").fetchall() == [], table

    def test_it_cannot_become_anybody_else(self, conn: psycopg.Connection[Any], tables: list[str]) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("alter table episodes disable row level security")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("create policy mine on episodes using (true)")


def test_requests_of_the_walk_say_what_they_are_meant_to() -> None:
    """The walker itself: ids by name, texts marked, nothing invented for what a schema fixes."""
    components = {
        "Body": {"type": "object", "properties": {"subject_id": {"type": "string"}, "text": {"type": "string"}}}
    }
    details = {
        "parameters": [{"name": "memory_id", "in": "path", "schema": {"type": "string", "format": "uuid"}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
    }
    described = Described("POST", "/v1/memories/{memory_id}/labels", details, components)
    request = described.request(filling("a/b", subject="s", session="t", tenant="u"), text="words")
    assert request == Sent("POST", "/v1/memories/a%2Fb/labels", {}, {"subject_id": "s", "text": "words"})
