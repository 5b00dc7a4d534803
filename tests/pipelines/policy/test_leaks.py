"""Nothing that a policy hides appears in any answer of any route that reads, whatever the policy and the caller."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import falcon.testing
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from api.app import create_app
from config.settings import Settings
from pipelines.embedders import open_embedder
from pipelines.principal import Principal
from pipelines.services import Services
from storage.transactions import Pool, operator_transaction
from tests.e2e.openapi_walk import operations
from tests.pipelines.policy.bundles import callers, document, expected, label_sets, rules

#: Each sentence holds a word that no other one and no question holds.
SENTENCES = [
    "My email address is quagga17@globex.example.",
    "I am allergic to zucchini42.",
    "I live in Wollongong99.",
    "My name is Xanthippe71.",
    "The printer model is called Kestrel88 and it jams.",
]
WORDS = ["quagga17", "zucchini42", "wollongong99", "xanthippe71", "kestrel88"]

TENANT = "leaks"
HEADERS = {"X-Tenant-ID": TENANT}

Client = falcon.testing.TestClient

#: Routes of tenants that hand out nothing of what is stored in memories and episodes, and why.
SILENT = {
    "DELETE /v1/subjects/{subject_id}": "counts of what it deletes, which its erasure receipt proves",
    "GET /healthz": "the state of the process",
    "GET /readyz": "the state of the process",
    "GET /v1/version": "the version of the process",
    "GET /v1/receipts/keys": "public keys of the server",
    "GET /v1/memory-templates": "files of the server",
    "GET /v1/memory-templates/{template_id}": "files of the server",
    "POST /v1/memory-templates/{template_id}/apply": "the episode that it has just stored",
    "POST /v1/resolutions": "what has just been sent; it takes the place of what was there",
    "POST /v1/llm/complete": "what a model says to the caller's own words",
}

#: Name memories that a rule fired on by their ids, because that is what they prove (contract: governance §2.4).
NAMES_BY_ID = {
    "GET /v1/receipts",
    "GET /v1/receipts/{receipt_id}",
    "POST /v1/receipts/{receipt_id}/replay",
}

#: The labels that the memories have at the moment, by id.
LABELS: dict[str, list[str]] = {}

#: The compile job that made the memories.
JOB: dict[str, str] = {}


def told(sentence: str) -> dict[str, Any]:
    """An episode of Ada's in which she says something."""
    payload = {"messages": [{"role": "user", "content": sentence}]}
    return {"subject_id": "ada", "source": "chat", "type": "message", "payload": payload}


@pytest.fixture(scope="module")
def client(shared_pool: Pool) -> Client:
    """A client of an application over the shared database."""
    settings = Settings()
    services = Services(settings=settings, pool=shared_pool, embedder=open_embedder(settings), ping_broker=lambda: None)
    return Client(create_app(services))


@pytest.fixture(scope="module")
def memories(client: Client, shared_pool: Pool) -> list[dict[str, Any]]:
    """What became of the sentences, each told in a session of its own that ended somehow."""
    for number, (sentence, word) in enumerate(zip(SENTENCES, WORDS, strict=True)):
        body = {**told(sentence), "session_id": f"s{number}", "idempotency_key": f"k{number}"}
        assert client.simulate_post("/v1/episodes", json=body, headers=HEADERS).status_code == 201
        ended = {"subject_id": "ada", "session_id": f"s{number}", "status": "resolved" if number % 2 else "open"}
        ended["resolution_summary"] = f"It was about {word}."
        assert client.simulate_post("/v1/resolutions", json=ended, headers=HEADERS).status_code == 200
    asked = {"subject_id": "ada", "async": True}
    JOB["id"] = client.simulate_post("/v1/memories/compile", json=asked, headers=HEADERS).json["job_id"]
    made = client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=HEADERS)
    with operator_transaction(shared_pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values (%s, %s)",
            (TENANT, Jsonb({"policy_mode": "enforce"})),
        )
    found: list[dict[str, Any]] = made.json["memories"]
    assert len(found) > len(WORDS), "facts, and a summary of each episode"
    return found


def answers(client: Client, caller: dict[str, str]) -> dict[str, list[str]]:
    """Everything that the routes of tenants say to the caller, by route. Questions name no word that is looked for."""
    said: dict[str, list[str]] = defaultdict(list)

    def ask(method: str, route: str, path: str | None = None, **request: Any) -> falcon.testing.Result:
        answer = client.simulate_request(method, path or route, headers=HEADERS, **request)
        assert answer.status_code < 500, answer.text
        said[f"{method} {route}"].append(answer.text)
        return answer

    receipts = []
    for task in ("What do we know about Ada?", "Which printer, which address, which allergy, which name?"):
        for session in (None, "s0", "s4"):
            body = {"subject_id": "ada", "task": task, "explain": True, "session_id": session, **caller}
            bundle = ask("POST", "/v1/context", json={**body, "emit_receipt": session == "s4" and not receipts}).json
            receipts += [bundle["receipt_id"]] if bundle["receipt_emitted"] else []
    for number in range(len(WORDS)):
        ask("POST", "/v1/handoff", json={"subject_id": "ada", "session_id": f"s{number}", **caller})
    lookups: list[dict[str, str]] = [{}, *({"q": word} for word in WORDS), {"q": "printer", "semantic": "true"}]
    for params in lookups:
        ask("GET", "/v1/memories/search", params={"subject_id": "ada", **params, **caller})
    for route in ("/v1/timeline", "/v1/resolutions"):
        ask("GET", route, params={"subject_id": "ada", **caller})
    for receipt_id in receipts:
        for method, what in (("GET", ""), ("GET", "/verify"), ("POST", "/replay")):
            ask(method, f"/v1/receipts/{{receipt_id}}{what}", f"/v1/receipts/{receipt_id}{what}")
        body = {"memories": "as_recorded"}
        ask("POST", "/v1/receipts/{receipt_id}/replay", f"/v1/receipts/{receipt_id}/replay", json=body)
    ask("GET", "/v1/receipts", params={"subject_id": "ada", "limit": "5"})
    for what in ("health", "sla"):
        ask("GET", f"/v1/subjects/{{subject_id}}/{what}", f"/v1/subjects/ada/{what}")
    return said


def answers_to_key(client: Client, memories: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What the routes say that know their caller by the key alone."""
    said: dict[str, list[str]] = defaultdict(list)

    def ask(method: str, route: str, path: str | None = None, **request: Any) -> None:
        answer = client.simulate_request(method, path or route, headers=HEADERS, **request)
        assert answer.status_code < 500, answer.text
        # A refusal names what was asked for.
        said[f"{method} {route}"].append(answer.text if answer.status_code < 300 else answer.json["error"]["code"])

    ask("GET", "/v1/subjects")
    ask("POST", "/v1/memories/compile", json={"subject_id": "ada"})
    ask("GET", "/v1/memories/compile/{job_id}", f"/v1/memories/compile/{JOB['id']}")
    repeated = [{**told("Something else."), "idempotency_key": f"k{number}"} for number in range(len(WORDS))]
    for body in repeated:
        ask("POST", "/v1/episodes", json=body)
    ask("POST", "/v1/episodes/batch", json={"episodes": repeated})
    for memory in memories:
        # What changes nothing: labels stay as they are, in the test's hands.
        path = f"/v1/memories/{memory['id']}/labels"
        ask("PATCH", "/v1/memories/{memory_id}/labels", path, json={"sensitivity_labels": LABELS.get(memory["id"], [])})
    paths = [
        *("", "/memories", "/episodes", "/memories?search=1", "/episodes?search=is", "/sla"),
        *(f"/sessions/s{number}/timeline" for number in range(len(WORDS))),
        *(f"/memories/{memory['id']}/related" for memory in memories),
        *(f"/episodes/{id}/citing-memories" for memory in memories for id in memory["source_episode_ids"]),
    ]
    for path in paths:
        ask("GET", f"/admin/subjects/ada{path}")
    return said


def test_every_route_of_tenants_is_asked_or_has_nothing_to_tell(client: Client, memories: list[dict[str, Any]]) -> None:
    """Operators' routes are for operators, who see everything; keys of tenants are refused there (test_isolation)."""
    served = {each.name for each in operations(client.simulate_get("/openapi.json").json) if not each.is_operators}
    LABELS.clear()
    with as_principal(Principal(name="key", kind="tenant", tenant_id=TENANT)):
        asked = {*answers(client, {}), *answers_to_key(client, memories)}
    assert served == {name for name in asked if "/admin/" not in name} | SILENT.keys()
    assert not asked & SILENT.keys()


@given(rules, st.lists(label_sets, min_size=12, max_size=12), callers)
@settings(
    max_examples=8,
    deadline=None,
    # Shrinking would ask hundreds of times what the message of the first failure says.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@example([({"memory_has_any_label": ["x"]}, "deny")], [["x"], [], []] * 4, (None, None))
@example([({"memory_has_any_label": ["x"]}, "redact")], [["x"], [], []] * 4, (None, "bot"))
@example([({"caller_type": "bot"}, "redact")], [[]] * 12, ("a", "bot"))
def test_no_denied_word_appears_anywhere(
    client: Client,
    memories: list[dict[str, Any]],
    shared_pool: Pool,
    drawn: list[tuple[dict[str, Any], str]],
    labels: list[list[str]],
    caller: tuple[str | None, str | None],
) -> None:
    labelled = {memory["id"]: own for memory, own in zip(memories, itertools.cycle(labels), strict=False)}
    with operator_transaction(shared_pool) as conn:
        for id, own in labelled.items():
            conn.execute("update memories set sensitivity_labels = %s where id = %s", (sorted(own), id))
    body = {"yaml_content": document(drawn), "tenant_id": TENANT, "activate": True}
    assert client.simulate_post("/admin/policy/bundles", json=body).status_code == 200

    hidden = {m["id"]: decided for m in memories if (decided := expected(drawn, labelled[m["id"]], *caller))}
    secret = {
        word for word in WORDS for memory in memories if memory["id"] in hidden and word in memory["content"].lower()
    }
    denied = {id for id, (_, action) in hidden.items() if action == "deny"}
    named = {key: value for key, value in zip(("caller_id", "caller_type"), caller, strict=True) if value is not None}
    LABELS.update(labelled)
    with as_principal(
        Principal(name="key", kind="tenant", tenant_id=TENANT, caller_id=caller[0], caller_type=caller[1])
    ):
        by_key = answers_to_key(client, memories)
    said = answers(client, named) | by_key
    for route, texts in said.items():
        for text in texts:
            assert not [word for word in secret if word in text.lower()], (route, drawn, caller, text)
            if route not in NAMES_BY_ID:
                assert not [id for id in denied if id in text], (route, drawn, caller, text)
    (listed,) = json.loads(by_key["GET /v1/subjects"][0])["subjects"]
    assert listed["memory_count"] <= len(memories) - len(denied), "nor is it counted"
    if not hidden:
        everything = "".join(text.lower() for texts in said.values() for text in texts)
        assert all(word in everything for word in WORDS), "the rest is still said"


@contextmanager
def as_principal(principal: Principal) -> Iterator[None]:
    """Whoever comes is taken for the bearer of this key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.access.ANONYMOUS", principal)
        yield
