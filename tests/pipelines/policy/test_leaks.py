"""Nothing that a policy hides appears in any answer of any route that reads, whatever the policy and the caller."""

from __future__ import annotations

import itertools
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
        body = {
            "subject_id": "ada",
            "session_id": f"s{number}",
            "source": "chat",
            "type": "message",
            "payload": {"messages": [{"role": "user", "content": sentence}]},
        }
        assert client.simulate_post("/v1/episodes", json=body, headers=HEADERS).status_code == 201
        ended = {"subject_id": "ada", "session_id": f"s{number}", "status": "resolved" if number % 2 else "open"}
        ended["resolution_summary"] = f"It was about {word}."
        assert client.simulate_post("/v1/resolutions", json=ended, headers=HEADERS).status_code == 200
    made = client.simulate_post("/v1/memories/compile", json={"subject_id": "ada"}, headers=HEADERS)
    with operator_transaction(shared_pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values (%s, %s)",
            (TENANT, Jsonb({"policy_mode": "enforce"})),
        )
    found: list[dict[str, Any]] = made.json["memories"]
    assert len(found) > len(WORDS), "facts, and a summary of each episode"
    return found


def answers(client: Client, caller: dict[str, str]) -> dict[str, str]:
    """Everything that the routes which read say to the caller. Questions name no word that is looked for."""
    said = {}
    for task in ("What do we know about Ada?", "Which printer, which address, which allergy, which name?"):
        for session in (None, "s0", "s4"):
            body = {"subject_id": "ada", "task": task, "explain": True, "session_id": session, **caller}
            said[f"context {task} {session}"] = client.simulate_post("/v1/context", json=body, headers=HEADERS).text
    for number in range(len(WORDS)):
        body = {"subject_id": "ada", "session_id": f"s{number}", **caller}
        said[f"handoff {number}"] = client.simulate_post("/v1/handoff", json=body, headers=HEADERS).text
    lookups: list[dict[str, str]] = [{}, *({"q": word} for word in WORDS), {"q": "printer", "semantic": "true"}]
    for params in lookups:
        answer = client.simulate_get(
            "/v1/memories/search", params={"subject_id": "ada", **params, **caller}, headers=HEADERS
        )
        said[f"search {params}"] = answer.text
    for path in ("/v1/timeline", "/v1/resolutions"):
        said[path] = client.simulate_get(path, params={"subject_id": "ada", **caller}, headers=HEADERS).text
    return said


def views(client: Client, memories: list[dict[str, Any]]) -> dict[str, str]:
    """What the operators' views of a subject say."""
    paths = [
        *("", "/memories", "/episodes", "/memories?search=1", "/episodes?search=is", "/sla"),
        *(f"/sessions/s{number}/timeline" for number in range(len(WORDS))),
        *(f"/memories/{memory['id']}/related" for memory in memories),
        *(f"/episodes/{id}/citing-memories" for memory in memories for id in memory["source_episode_ids"]),
    ]
    return {path: client.simulate_get(f"/admin/subjects/ada{path}", headers=HEADERS).text for path in paths}


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

    hidden = [memory for memory in memories if expected(drawn, labelled[memory["id"]], *caller) is not None]
    secret = {word for word in WORDS for memory in hidden if word in memory["content"].lower()}
    named = {key: value for key, value in zip(("caller_id", "caller_type"), caller, strict=True) if value is not None}
    key = Principal(name="key", kind="tenant", tenant_id=TENANT, caller_id=caller[0], caller_type=caller[1])
    said = answers(client, named) | as_principal(client, key, memories)
    for place, text in said.items():
        assert not [word for word in secret if word in text.lower()], (place, drawn, caller, text)
    if not hidden:
        assert all(any(word in text.lower() for text in said.values()) for word in WORDS), "the rest is still said"


def as_principal(client: Client, principal: Principal, memories: list[dict[str, Any]]) -> dict[str, str]:
    """The operators' views, to somebody who has a key of the tenant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.access.ANONYMOUS", principal)
        return views(client, memories)
