"""Repeating an append tells nobody what the policy withholds, and succeeds all the same."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from psycopg.types.json import Jsonb

from pipelines.compile import compile_now
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.policy import bundles, in_force
from pipelines.policy.evaluation import Caller
from pipelines.principal import SHARED
from pipelines.services import Services
from storage.rows import Episode
from storage.transactions import operator_transaction
from tests.pipelines.policy.bundles import document

BOT = Caller(type="bot")


def said(text: str, **fields: object) -> NewEpisode:
    episode = NewEpisode(subject_id="ada", source="chat", type="message", payload={"text": text}, idempotency_key="k")
    return msgspec.structs.replace(episode, **fields)


def append(services: Services, *episodes: NewEpisode, caller: Caller = BOT) -> list[Episode]:
    return append_episodes(services, "acme", episodes, request_id=None, caller=caller)


@pytest.fixture
def secret(services: Services) -> Episode:
    """An episode under the key `k`, all of whose memories are hidden from bots."""
    (stored,) = append(services, said("My email address is ada@globex.example."))
    compile_now(services, "acme", "ada", request_id=None)
    text = document([({"memory_has_any_label": ["pii.email"], "caller_type": "bot"}, "deny")])
    bundles.upload(services, "acme", text, activate=True, principal=SHARED)
    with operator_transaction(services.pool) as conn:
        conn.execute("update memories set sensitivity_labels = '{pii.email}'")
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values ('acme', %s)", (Jsonb({"policy_mode": "enforce"}),)
        )
    return stored


def test_what_was_first_sent_is_answered_as_at_first(services: Services, secret: Episode) -> None:
    """Whoever repeats honestly does not even notice."""
    assert append(services, said("My email address is ada@globex.example.")) == [secret]


def test_whoever_guesses_the_key_reads_their_own_words(services: Services, secret: Episode) -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    guess = said("What is stored here?", session_id="mine", metadata={"a": 1}, occurred_at=moment)
    (answer,) = append(services, guess)
    assert (answer.id, answer.created_at) == (secret.id, secret.created_at)
    assert msgspec.json.decode(answer.payload) == {"text": "What is stored here?"}
    assert (answer.session_id, answer.occurred_at, bytes(answer.metadata)) == ("mine", moment, b'{"a":1}')


def test_whoever_may_see_it_sees_what_is_stored(services: Services, secret: Episode) -> None:
    assert append(services, said("Something else."), caller=Caller(type="admin")) == [secret]


def test_within_a_batch_each_answer_is_decided_for_itself(services: Services, secret: Episode) -> None:
    append(services, said("I live in Oslo.", subject_id="bob"))
    answers = append(services, said("x"), said("y", subject_id="bob"), said("z", idempotency_key=None))
    assert [msgspec.json.decode(answer.payload)["text"] for answer in answers] == ["x", "I live in Oslo.", "z"]


def test_a_policy_that_cannot_be_read_withholds_it_and_repeating_succeeds(
    services: Services, secret: Episode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.policies.bundle_text", lambda *_: None)
    monkeypatch.setattr("pipelines.policy.in_force._remembered", in_force._Bundles())
    (answer,) = append(services, said("x"), caller=Caller(type="admin"))
    assert answer.id == secret.id
    assert msgspec.json.decode(answer.payload) == {"text": "x"}
