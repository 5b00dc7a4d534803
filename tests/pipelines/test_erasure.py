"""Erasing leaves an entry in the ledger and nothing else; a sweep proves it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from config.errors import NotFound
from pipelines import erasure_proof
from pipelines.compile import compile_now, request_compile
from pipelines.context import ContextRequest, assemble_context
from pipelines.erasure import Asked, erase_memory, erase_subject
from pipelines.erasure_receipts import subject_hash, verify
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.receipts.signing import ED25519, Keyring
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from storage import erasures, runs, support_facts
from storage.erasures import ErasureRow
from storage.rows import Memory, Run
from storage.transactions import operator_transaction, tenant_transaction
from tests.fixtures.databases import everything_as_text

KEYS = {"2026-01": bytes(range(32))}
OPERATOR = Asked(by="dpo", reason="request 17", request_id="r-1")


def say(services: Services, text: str, *, subject_id: str = "ada", session_id: str = "s1") -> UUID:
    episode = NewEpisode(
        subject_id=subject_id,
        session_id=session_id,
        source="chat",
        type="message",
        payload={"messages": [{"role": "user", "content": text}]},
    )
    return append_episodes(services, "acme", [episode], request_id=None)[0].id


def tell_all(services: Services, subject_id: str = "ada") -> list[Memory]:
    """A story with contradictions, sessions and an outcome; its memories."""
    say(services, "Hello, my name is Ada Moreau. I live in Lyon.", subject_id=subject_id)
    memories = compile_now(services, "acme", subject_id, request_id=None).memories
    say(
        services, "I moved: I live in Marseille now. The zeppelin export fails.", subject_id=subject_id, session_id="s2"
    )
    memories += compile_now(services, "acme", subject_id, request_id=None).memories
    record_resolution(services, "acme", subject_id=subject_id, session_id="s2", summary="zeppelin restarted")
    say(services, "My zeppelin is green.", subject_id=subject_id)
    return memories


def claim_proof(services: Services) -> Run:
    with operator_transaction(services.pool) as conn:
        conn.execute("update runs set run_after = now() where kind = 'erasure_proof'")
        run_id = conn.execute("select id from runs where kind = 'erasure_proof' and state = 'pending'").fetchone()
        assert run_id is not None
        run = runs.claim(conn, run_id[0], stage=None, lease=timedelta(seconds=30))
    assert run is not None
    return run


def prove(services: Services) -> dict[str, Any]:
    """Do the sweep that the erasure ordered, as a worker would."""
    run = claim_proof(services)
    after = erasure_proof.prove(services, run)
    assert after is not None and after.state == "completed"
    entry = entries(services)[0]
    assert entry.proof is not None
    proof: dict[str, Any] = json.loads(bytes(entry.proof))
    assert entry.state == ("leftovers" if proof["left"] else "proved")
    return proof


def entries(services: Services) -> list[ErasureRow]:
    with operator_transaction(services.pool) as conn:
        return erasures.page(conn, tenant_id=None, subject_sha256=None, state=None, before=None, limit=50)


def context(services: Services, task: str, subject_id: str = "ada") -> str:
    request = ContextRequest(subject_id=subject_id, task=task, max_tokens=500)
    return assemble_context(services, "acme", request).assembled_context


def with_keys(services: Services) -> Services:
    return replace(services, settings=replace(services.settings, receipt_ed25519_keys=KEYS))


def test_an_erased_subject_leaves_a_signed_receipt_with_counts_and_no_content(services: Services) -> None:
    signing = with_keys(services)
    memories = tell_all(signing)
    done = erase_subject(signing, "acme", "ada", asked=OPERATOR)
    (entry,) = entries(signing)
    receipt = json.loads(bytes(entry.receipt))
    assert entry.id == done.erasure_id
    assert (receipt["erased_by"], receipt["reason"], receipt["scope"]) == ("dpo", "request 17", "subject")
    assert receipt["counts"]["episodes"] == done.episodes == 3
    assert receipt["counts"]["memories"] == done.memories == len(memories)
    assert receipt["counts"]["memory_versions"] >= 1 and receipt["counts"]["resolutions"] == 1
    assert receipt["subject_sha256"] == subject_hash("acme", "ada").hex()
    for word in ("zeppelin", "Moreau", "Lyon", '"ada"', "s2"):
        assert word not in bytes(entry.receipt).decode()
    verdict = verify(entry, Keyring.of(signing.settings))
    assert (verdict.valid, verdict.algorithm, verdict.matches_ledger) == (True, ED25519, True)


def test_a_receipt_that_was_changed_does_not_verify(services: Services) -> None:
    signing = with_keys(services)
    tell_all(signing)
    erase_subject(signing, "acme", "ada", asked=OPERATOR)
    (entry,) = entries(signing)
    raw = bytes(entry.receipt)
    changed = type(entry.receipt)(raw.replace(b'"dpo"', b'"eve"'))
    assert verify(entry_with(entry, changed), Keyring.of(signing.settings)).valid is False


def entry_with(entry: ErasureRow, receipt: Any) -> ErasureRow:
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return ErasureRow(**{**fields, "receipt": receipt})


def test_without_a_key_the_receipt_says_that_it_is_not_signed(services: Services) -> None:
    tell_all(services)
    erase_subject(services, "acme", "ada")
    verdict = verify(entries(services)[0], Keyring.of(services.settings))
    assert (verdict.valid, verdict.reason, verdict.matches_ledger) == (None, "no_signature", True)


def test_an_unknown_subject_leaves_no_trace(services: Services) -> None:
    assert erase_subject(services, "acme", "nobody").erasure_id is None
    assert entries(services) == []


def test_the_ledger_can_be_neither_deleted_nor_rewritten(services: Services) -> None:
    tell_all(services)
    erase_subject(services, "acme", "ada")
    for statement in ("delete from erasures", "update erasures set receipt = '{}'", "delete from erased_items"):
        with pytest.raises(Exception, match="permission denied"), operator_transaction(services.pool) as conn:
            conn.execute(statement)


def test_the_audit_log_names_the_erasure_and_not_the_subject(services: Services) -> None:
    tell_all(services)
    done = erase_subject(services, "acme", "ada", asked=OPERATOR)
    with operator_transaction(services.pool) as conn:
        rows = conn.execute("select actor, action, target, tenant_id, details from audit_log").fetchall()
    assert [row[:4] for row in rows] == [("dpo", "subject.erase", str(done.erasure_id), "acme")]
    assert b"ada" not in bytes(rows[0][4])


def test_the_sweep_proves_that_nothing_is_left_in_any_table_or_in_redis(services: Services) -> None:
    tell_all(services)
    erase_subject(services, "acme", "ada")
    proof = prove(services)
    assert proof["left"] == 0 and proof["removed"] == {} and not proof["lives_again"]
    assert proof["ids_compared"] == proof["ids_erased"] > 3
    assert {"episodes", "memories", "runs", "passage_vectors", "webhook_deliveries"} <= set(proof["tables"])
    assert proof["redis"] == {"keys": 0, "complete": True, "left": 0}
    for word in ("zeppelin", "Moreau", "Marseille", '"ada"', "s2"):
        assert word not in everything_as_text(services.pool)


def test_after_the_proof_nothing_knows_what_the_subject_was_called(services: Services) -> None:
    tell_all(services, subject_id="quetzalcoatl")
    erase_subject(services, "acme", "quetzalcoatl")
    assert b"quetzalcoatl".hex() in everything_as_text(services.pool)  # The sweep has yet to look for it.
    prove(services)
    dump = everything_as_text(services.pool)
    assert "quetzalcoatl" not in dump and b"quetzalcoatl".hex() not in dump


def test_a_row_that_slipped_in_is_found_deleted_and_reported(services: Services) -> None:
    tell_all(services)
    erase_subject(services, "acme", "ada")
    with operator_transaction(services.pool) as conn:
        conn.execute("insert into passage_blocks values ('acme', 'ada', 0, '', '')")
        conn.execute(
            "insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, run_after, created_at)"
            " select gen_random_uuid(), 'acme', 'ada', 'health', 'maintenance', 'evaluate', 'pending', now(),"
            "        erased_at - interval '1 second' from erasures"
        )
    proof = prove(services)
    assert proof["removed"] == {"passage_blocks": 1, "runs": 1}
    assert proof["left"] == 0


def test_what_the_sweep_cannot_delete_is_reported_as_left(services: Services, redis_url: str) -> None:
    import redis

    tell_all(services)
    erase_subject(services, "acme", "ada")
    with redis.Redis.from_url(redis_url) as client:
        client.set("context:acme:ada", b"cached")
        client.hset("answers", "1", json.dumps({"subject_id": "ada"}))
        client.set("unrelated", b"adamant")
    proof = prove(services)
    assert proof["redis"] == {"keys": 3, "complete": True, "left": 2} and proof["left"] == 2


def test_a_table_that_is_added_later_is_swept_too(services: Services, database: str) -> None:
    import psycopg

    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("create table later (tenant_id text, subject_id text, words text)")
        owner.execute("grant select, insert, delete on later to statewave_operator, statewave_app")
    tell_all(services)
    erase_subject(services, "acme", "ada")
    with operator_transaction(services.pool) as conn:
        conn.execute("insert into later values ('acme', 'ada', 'zeppelin')")
    assert prove(services)["removed"] == {"later": 1}


def test_a_subject_that_begins_anew_keeps_its_new_rows(services: Services) -> None:
    tell_all(services)
    erase_subject(services, "acme", "ada")
    say(services, "I am back, and I like teal.")
    compile_now(services, "acme", "ada", request_id=None)
    proof = prove(services)
    assert proof["lives_again"] and proof["left"] == 0 and proof["removed"] == {}
    assert "teal" in context(services, "I like teal")


def test_work_asked_for_after_the_erasure_is_not_taken_for_a_leftover(services: Services) -> None:
    tell_all(services)
    erase_subject(services, "acme", "ada")
    asked, _ = request_compile(services, "acme", "ada", request_id=None)
    assert prove(services)["removed"] == {}
    with operator_transaction(services.pool) as conn:
        assert runs.find(conn, asked.id) is not None


def test_figures_of_an_erased_subject_are_not_kept_for_the_one_that_took_its_name(services: Services) -> None:
    tell_all(services)
    with tenant_transaction(services.pool, "acme") as conn:
        seen = support_facts.kept(conn, "acme", "ada")
    erase_subject(services, "acme", "ada")
    say(services, "I am somebody else.")
    assert seen is not None
    with tenant_transaction(services.pool, "acme") as conn:
        support_facts.keep(conn, "acme", "ada", seen, b"of the erased one")
        assert conn.execute("select count(*) from support_facts").fetchone() == (0,)


def test_one_memory_goes_with_its_versions_and_passages_and_its_episode_stays(services: Services) -> None:
    memories = tell_all(services)
    lyon = next(memory for memory in memories if "Lyon" in memory.content and memory.kind == "profile_fact")
    before = context(services, "Where does Ada live?")
    done = erase_memory(services, lyon.id, tenant_id=None, asked=OPERATOR)
    assert (done.memories, done.episodes) == (1, 0)
    proof = prove(services)
    assert proof["left"] == 0 and proof["ids_compared"] == 1
    with tenant_transaction(services.pool, "acme") as conn:
        assert conn.execute("select count(*) from memory_versions where memory_id = %s", (lyon.id,)).fetchone() == (0,)
        assert conn.execute("select memory_count from subjects").fetchone() == (len(memories) - 1,)
        assert conn.execute("select count(*) from episodes").fetchone() == (3,)
    assert "Marseille" in before and "Marseille" in context(services, "Where does Ada live?")


def test_with_its_episodes_everything_that_was_taken_from_them_goes(services: Services) -> None:
    memories = tell_all(services)
    compile_now(services, "acme", "ada", request_id=None)
    fails = next(memory for memory in memories if "Marseille" in memory.content)
    done = erase_memory(services, fails.id, tenant_id="acme", with_episodes=True, asked=OPERATOR)
    assert done.episodes == 1 and done.memories >= 1
    prove(services)
    with tenant_transaction(services.pool, "acme") as conn:
        assert conn.execute("select episode_count, compiled_count from subjects").fetchone() == (2, 2)
        left = conn.execute("select string_agg(content, ' ') from memories").fetchone()
    assert left is not None and "Marseille" not in left[0]
    assert "Marseille" not in context(services, "Where does Ada live?")
    assert "zeppelin" in context(services, "What colour is the zeppelin?")


def test_a_compilation_under_way_does_not_publish_what_was_erased_with_its_episode(services: Services) -> None:
    from tests.pipelines.test_compile_stages import begun, step

    memories = tell_all(services)
    run_id = begun(services)
    assert step(services, run_id) is not None and step(services, run_id) is not None
    fails = next(memory for memory in memories if "Marseille" in memory.content)
    erase_memory(services, fails.id, tenant_id="acme", with_episodes=True, asked=OPERATOR)
    with tenant_transaction(services.pool, "acme") as conn:
        assert conn.execute("select stage, state from runs where id = %s", (run_id,)).fetchone() == (
            "compile",
            "running",
        )
        assert conn.execute("select count(*) from stage_outputs where run_id = %s", (run_id,)).fetchone() == (0,)


def test_an_unknown_memory_is_not_found(services: Services) -> None:
    memories = tell_all(services)
    with pytest.raises(NotFound):
        erase_memory(services, memories[0].id, tenant_id="globex", asked=OPERATOR)
    with pytest.raises(NotFound):
        erase_memory(services, UUID(int=7), tenant_id=None, asked=OPERATOR)
