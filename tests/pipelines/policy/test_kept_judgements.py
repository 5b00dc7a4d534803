"""A judgement that is kept says what would be decided anew, whatever happened to the subject meanwhile."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from pipelines.compile import compile_now
from pipelines.context import ContextBundle, ContextRequest, assemble
from pipelines.erasure import Asked, erase_memory, erase_subject
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.labels.changing import set_labels
from pipelines.policy import bundles
from pipelines.policy.evaluation import Caller
from pipelines.policy.id_sets import IdSet
from pipelines.policy.in_force import reading_as
from pipelines.policy.judgement import Judgement
from pipelines.policy.kept_judgements import KeptJudgements, Key
from pipelines.policy.visibility import Visibility
from pipelines.principal import SHARED
from pipelines.services import Services
from storage.transactions import operator_transaction, statements_sent, tenant_transaction

TENANT = "acme"
RULES = [
    {"id": "mail", "when": {"memory_has_any_label": ["mail"], "caller_type": "bot"}, "action": "deny"},
    {"id": "health", "when": {"memory_has_any_label": ["health"]}, "action": "redact"},
]
BOT = Caller(type="bot")


@pytest.fixture
def governed(services: Services) -> Services:
    """A tenant that enforces a policy, and a subject of which nothing is labelled yet."""
    tell(services, "My email address is ada@globex.example.", "I live in Porto.", "I am allergic to peanuts.")
    activate(services, RULES)
    with operator_transaction(services.pool) as conn:
        conn.execute(
            "insert into tenant_configs (tenant_id, config) values (%s, %s)",
            (TENANT, Jsonb({"policy_mode": "enforce"})),
        )
    return services


def tell(services: Services, *texts: str, subject: str = "ada") -> None:
    for text in texts:
        episode = NewEpisode(subject_id=subject, session_id="s1", source="chat", type="message", payload={"text": text})
        append_episodes(services, TENANT, [episode], request_id=None)
    compile_now(services, TENANT, subject, request_id=None)


def activate(services: Services, rules: list[dict[str, object]]) -> None:
    bundles.upload(services, TENANT, json.dumps({"version": 1, "rules": rules}), activate=True, principal=SHARED)


def memory_of(services: Services, word: str) -> UUID:
    with tenant_transaction(services.pool, TENANT) as conn:
        row = conn.execute(
            "select id from memories where content ilike %s and kind <> 'episode_summary'", (f"%{word}%",)
        ).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def label(services: Services, word: str, *labels: str) -> None:
    set_labels(services, TENANT, str(memory_of(services, word)), list(labels), principal=SHARED, request_id=None)


def visibility(services: Services, caller: Caller = BOT, subject: str = "ada") -> Visibility:
    with reading_as(services, TENANT, caller, subject_id=subject) as reader:
        return reader.visibility(subject)


def decided_anew(services: Services, caller: Caller = BOT, subject: str = "ada") -> Visibility:
    """By a process that has kept nothing."""
    return visibility(dataclasses.replace(services, judgements=KeptJudgements()), caller, subject)


def judged(services: Services) -> tuple[Visibility, object]:
    """What the caller may see, and what a receipt would say of it."""
    with reading_as(services, TENANT, BOT, subject_id="ada") as reader:
        judgement = reader.judgement("ada")
        return judgement.visibility, judgement.fired


def statements(services: Services) -> int:
    statements_sent.set(0)
    visibility(services)
    return statements_sent.get()


def ask(services: Services, task: str) -> ContextBundle:
    request = ContextRequest(subject_id="ada", task=task, max_tokens=500, caller_type="bot")
    return assemble(services, TENANT, request).bundle


def test_reading_again_costs_no_statement_and_a_change_costs_one(governed: Services) -> None:
    decided_anew(governed)  # The text of the policy is read once by each process.
    first = statements(governed)
    assert statements(governed) == first - 1
    label(governed, "globex", "mail")
    assert statements(governed) == first
    assert statements(governed) == first - 1


CHANGES: dict[str, Callable[[Services], object]] = {
    "labelled": lambda s: label(s, "porto", "mail"),
    "unlabelled": lambda s: label(s, "globex"),
    "labelled otherwise": lambda s: label(s, "globex", "health"),
    "told again elsewhere": lambda s: tell(s, "My email address is ada@globex.example."),
    "erased": lambda s: erase_memory(s, memory_of(s, "globex"), tenant_id=TENANT, asked=Asked()),
    "written to by hand": lambda s: run(s, "update memories set sensitivity_labels = '{mail}' where tenant_id = %s"),
    "deleted by hand": lambda s: run(s, "delete from memories where tenant_id = %s and content ilike '%%globex%%'"),
    "superseded": lambda s: run(s, "update memories set status = 'superseded' where tenant_id = %s"),
}


def run(services: Services, statement: str) -> None:
    with operator_transaction(services.pool) as conn:
        conn.execute(statement.encode(), (TENANT,))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_counts_with_the_next_request_on_every_replica(governed: Services, change: str) -> None:
    label(governed, "globex", "mail")
    label(governed, "peanuts", "health")
    replicas = [dataclasses.replace(governed, judgements=KeptJudgements()) for _ in range(2)]
    before = [judged(replica) for replica in replicas]
    CHANGES[change](governed)
    anew = judged(dataclasses.replace(governed, judgements=KeptJudgements()))
    assert [judged(replica) for replica in replicas] == [anew] * 2
    assert anew != before[0] == before[1]


def test_what_is_relabelled_is_not_in_the_next_context(governed: Services) -> None:
    task = "What is Ada's email address, and where does she live?"
    assert "globex" in ask(governed, task).assembled_context
    label(governed, "globex", "mail")
    assert "globex" not in ask(governed, task).assembled_context
    label(governed, "globex")
    assert "globex" in ask(governed, task).assembled_context


def test_notes_of_redacted_memories_cost_no_statement_again(governed: Services) -> None:
    label(governed, "peanuts", "health")
    first = ask(governed, "Where does Ada live?")
    statements_sent.set(0)
    again = ask(governed, "Where does Ada live?")
    with_notes = statements_sent.get()
    label(governed, "peanuts")
    ask(governed, "Where does Ada live?")
    statements_sent.set(0)
    ask(governed, "Where does Ada live?")
    assert with_notes == statements_sent.get()
    assert "[REDACTED by policy]" in again.assembled_context
    assert again.assembled_context == first.assembled_context


def test_a_change_that_was_under_way_counts_as_soon_as_it_is_committed(governed: Services) -> None:
    """The older transaction commits last: the newest change that a reader saw before is not the newest it missed."""
    visibility(governed)
    with operator_transaction(governed.pool) as older:
        older.execute(
            "update memories set sensitivity_labels = '{mail}' where tenant_id = %s and content ilike '%%globex%%'",
            (TENANT,),
        )
        label(governed, "porto", "mail")
        assert visibility(governed) == decided_anew(governed)
        meanwhile = visibility(governed)
    assert visibility(governed) == decided_anew(governed)
    assert visibility(governed).denied > meanwhile.denied


def test_a_policy_counts_for_whom_it_concerns_and_for_as_long_as_it_is_in_force(governed: Services) -> None:
    label(governed, "globex", "mail")
    assert memory_of(governed, "globex") in visibility(governed).denied
    assert not visibility(governed, Caller(type="human")).denied
    activate(governed, [{**RULES[0], "action": "redact"}])
    assert memory_of(governed, "globex") not in visibility(governed).denied
    assert memory_of(governed, "globex") in visibility(governed).redacted
    bundles.deactivate(governed, TENANT, principal=SHARED)
    assert not visibility(governed).hides_anything


def test_two_subjects_that_changed_together_are_not_taken_for_each_other(governed: Services) -> None:
    tell(governed, "My email address is bob@globex.example.", subject="bob")
    run(
        governed,
        "update memories set sensitivity_labels = '{mail}' where tenant_id = %s and content ilike '%%globex%%'",
    )
    with reading_as(governed, TENANT, BOT, subject_id="ada") as reader:
        both = reader.visibilities(["ada", "bob"])
    assert both["ada"] == decided_anew(governed, subject="ada")
    assert both["bob"] == decided_anew(governed, subject="bob")
    assert visibility(governed, subject="bob") == decided_anew(governed, subject="bob")


def test_a_subject_that_was_erased_and_told_again_is_judged_anew(governed: Services) -> None:
    label(governed, "globex", "mail")
    visibility(governed)
    erase_subject(governed, TENANT, "ada")
    assert not visibility(governed).hides_anything
    tell(governed, "I live in Porto.")
    assert not visibility(governed).hides_anything


def judgement(size: int) -> Judgement:
    return Judgement(labelled=frozenset(uuid4() for _ in range(size)))


def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    kept = KeptJudgements(most_ids=10)
    keys = [Key("t", str(number), "hash", ()) for number in range(4)]
    for key in keys[:3]:
        kept.keep(key, 1, judgement(4))
    assert [kept.find(key, 1) is not None for key in keys] == [False, True, True, False]
    kept.keep(keys[1], 2, judgement(8))
    assert [kept.find(key, 2) is not None for key in keys] == [False, True, False, False]
    kept.keep(keys[3], 1, judgement(11))
    assert kept.find(keys[3], 1) is None
    assert kept.find(keys[1], 1) is None, "another version"
    assert kept.find(keys[1], None) is None, "a reader that was told no version"


#: Ids that differ in either half only, besides others.
_ids = st.lists(st.builds(lambda high, low: UUID(int=high << 64 | low), *(st.integers(0, 3),) * 2), max_size=12)


@given(_ids, _ids)
def test_a_set_of_ids_holds_what_is_in_it(held: list[UUID], asked: list[UUID]) -> None:
    column = np.frombuffer(b"".join(id.bytes for id in asked), dtype="V16")
    assert IdSet(held).holds(column).tolist() == [id in held for id in asked]
