"""A subject that is exported and imported is the same subject; what was erased stays erased."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from config.errors import BadRequest, NotFound
from pipelines.compile import compile_now
from pipelines.context import ContextRequest, assemble_context
from pipelines.erasure import Asked, erase_memory, erase_subject
from pipelines.ingest import NewEpisode, append_episodes
from pipelines.portability import indexing
from pipelines.portability.document import checksum_1_0
from pipelines.portability.export import export_subject
from pipelines.portability.importing import Imported, Wishes, import_document
from pipelines.portability.reading import Lines, WholeDocument
from pipelines.services import Services
from pipelines.support.resolutions import record_resolution
from pipelines.timeline import read_timeline
from storage import runs
from storage.transactions import operator_transaction
from tests.pipelines.test_erasure import say, tell_all

ME = Wishes(by="dpo")
TASKS = ("Where does Ada live?", "What about the zeppelin?", "Who is this?")


def document(services: Services, tenant_id: str = "acme", version: str = "1.1") -> dict[str, Any]:
    parts = export_subject(services, tenant_id, "ada", version=version, by="dpo")
    whole: dict[str, Any] = json.loads(b"".join(parts))
    return whole


def lines(services: Services) -> bytes:
    return b"".join(export_subject(services, "acme", "ada", form="jsonl", by="dpo"))


def take_in(services: Services, sent: dict[str, Any], wishes: Wishes = ME) -> Imported:
    raw = msgspec.json.decode(json.dumps(sent).encode(), type=dict[str, msgspec.Raw])
    return import_document(services, WholeDocument(raw), wishes)


def seen(services: Services, tenant_id: str = "acme") -> dict[str, Any]:
    """Everything that clients can see of the subject."""
    timeline = read_timeline(
        services,
        tenant_id,
        subject_id="ada",
        limit=100,
        offset=0,
        newest_first=False,
        status="all",
        since=None,
        until=None,
        kinds=None,
    )
    contexts = [
        assemble_context(services, tenant_id, ContextRequest(subject_id="ada", task=task, max_tokens=300))
        for task in TASKS
    ]
    with operator_transaction(services.pool) as conn:
        rows = conn.execute(
            "select to_jsonb(v) - 'tenant_id' - 'written_in' - 'replaced_in' from memory_versions v"
            " where tenant_id = %s order by memory_id, known_from",
            (tenant_id,),
        ).fetchall()
        changes = conn.execute(
            "select to_jsonb(c) - 'tenant_id' from resolution_changes c where tenant_id = %s order by version",
            (tenant_id,),
        ).fetchall()
        counters = conn.execute(
            "select episode_count, memory_count, last_seq, compiled_seq, compiled_count, passage_count, speakers"
            " from subjects where tenant_id = %s",
            (tenant_id,),
        ).fetchone()
        labels = conn.execute(
            "select id, sensitivity_labels, suggested_labels, superseded_by, claim_key from memories"
            " where tenant_id = %s order by id",
            (tenant_id,),
        ).fetchall()
    return {
        "timeline": msgspec.json.decode(msgspec.json.encode([timeline.episodes, timeline.memories])),
        "contexts": [context.assembled_context for context in contexts],
        "versions": rows,
        "changes": changes,
        "counters": counters,
        "labels": labels,
    }


def index(services: Services) -> None:
    """Do the run that an import without passages ordered, as a worker would."""
    with operator_transaction(services.pool) as conn:
        row = conn.execute("select id from runs where kind = 'index_import' and state = 'pending'").fetchone()
        assert row is not None
        run = runs.claim(conn, row[0], stage=None, lease=timedelta(seconds=30))
    assert run is not None
    after = indexing.index(services, run)
    assert after is not None and after.state == "completed"


@pytest.fixture
def story(services: Services) -> Services:
    quiet = replace(services, settings=replace(services.settings, auto_compile_after_seconds=None))
    tell_all(quiet)
    with operator_transaction(quiet.pool) as conn:
        conn.execute("update memories set sensitivity_labels = '{pii}', suggested_labels = '{pii.email}'")
    return quiet


def forget(services: Services) -> None:
    """As if this were another server: nothing of the subject is here, and no erasure is known."""
    erase_subject(services, "acme", "ada")
    with services.pool.connection() as conn:
        conn.execute("alter table erased_items no force row level security")
        conn.execute("truncate erasures, erased_items, runs cascade")
        conn.execute("alter table erased_items force row level security")


def test_what_comes_back_is_what_was_taken_out(story: Services) -> None:
    before = seen(story)
    taken = document(story)
    forget(story)
    done = take_in(story, taken)
    assert (done.episodes_imported, done.skipped_erased, done.indexing) == (3, 0, False)
    assert seen(story) == before
    again = document(story)
    assert again["subject"] == taken["subject"]
    assert {**again, "exported_at": taken["exported_at"]} == taken


def test_json_lines_carry_the_same_and_come_piece_by_piece(story: Services) -> None:
    before = seen(story)
    taken = lines(story)
    forget(story)
    source = Lines(iter(taken.splitlines(keepends=True)))
    assert source.next_document()
    import_document(story, source, ME)
    assert not source.next_document()
    assert seen(story) == before


def test_importing_twice_changes_nothing(story: Services) -> None:
    taken = document(story)
    before = seen(story)
    done = take_in(story, taken)
    assert done.rows_imported == {} and done.unchanged > 5 and not done.indexing
    assert seen(story) == before


def test_passages_are_made_again_where_they_cannot_be_taken(story: Services) -> None:
    before = seen(story)
    taken = document(story)
    taken["passage_layout"] = "another"
    forget(story)
    assert take_in(story, taken).indexing
    index(story)
    after = seen(story)
    assert after["contexts"] == before["contexts"]
    assert after["timeline"] == before["timeline"]


def test_into_another_tenant_under_new_ids(story: Services) -> None:
    taken = document(story)
    wishes = Wishes(by="dpo", target_tenant_id="globex", target_subject_id="ada", preserve_ids=False)
    done = take_in(story, taken, wishes)
    assert (done.tenant_id, done.episodes_imported, done.indexing) == ("globex", 3, True)
    index(story)
    assert seen(story, "globex")["contexts"] == seen(story)["contexts"]
    assert take_in(story, taken, wishes).rows_imported == {}
    there, here = seen(story, "globex")["labels"], seen(story)["labels"]
    assert sorted(row[1:3] for row in there) == sorted(row[1:3] for row in here)
    assert not {row[0] for row in there} & {row[0] for row in here}


def test_ids_that_are_taken_by_another_subject_are_refused(story: Services) -> None:
    taken = document(story)
    with pytest.raises(BadRequest, match="is taken"):
        take_in(story, taken, Wishes(by="dpo", target_tenant_id="globex"))


def test_a_document_joins_what_a_subject_has(story: Services) -> None:
    taken = document(story)
    forget(story)
    say(story, "I play the bassoon.")
    compile_now(story, "acme", "ada", request_id=None)
    done = take_in(story, taken)
    assert done.episodes_imported == 3 and done.indexing
    index(story)
    contexts = " ".join(seen(story)["contexts"])
    assert "zeppelin" in contexts and "Marseille" in contexts
    assert seen(story)["counters"][0] == 4


@pytest.mark.parametrize("changed", ["content", "row missing", "version", "no checksum", "format"])
def test_a_document_that_was_changed_is_refused(story: Services, changed: str) -> None:
    taken = document(story)
    forget(story)
    if changed == "content":
        taken["memories"][0]["content"] += "!"
    elif changed == "row missing":
        taken["episodes"].pop()
    elif changed == "version":
        taken["format_version"] = "2.0"
    elif changed == "format":
        taken["format"] = "statewave-memory-payload"
    else:
        del taken["checksum"]
    with pytest.raises(BadRequest):
        take_in(story, taken)
    with pytest.raises(NotFound):
        document(story)


@pytest.mark.parametrize("cut", [-1, -2, 3])
def test_lines_that_break_off_import_nothing(story: Services, cut: int) -> None:
    taken = lines(story).splitlines(keepends=True)
    forget(story)
    source = Lines(iter(taken[:cut]))
    assert source.next_document()
    with pytest.raises(BadRequest, match="breaks off"):
        import_document(story, source, ME)
    with pytest.raises(NotFound):
        document(story)


def test_the_order_of_keys_and_white_space_make_no_difference(story: Services) -> None:
    taken = document(story)
    forget(story)
    reordered = json.loads(json.dumps(taken, sort_keys=True, indent=3, ensure_ascii=True))
    assert take_in(story, reordered).episodes_imported == 3


def test_a_backup_of_an_erased_subject_imports_as_erased(story: Services) -> None:
    taken = document(story)
    erase_subject(story, "acme", "ada")
    done = take_in(story, taken)
    assert done.rows_imported == {} and done.skipped_erased > 5
    with pytest.raises(NotFound):
        document(story)
    moved = take_in(story, taken, Wishes(by="dpo", target_tenant_id="globex", target_subject_id="eve"))
    assert moved.rows_imported == {}


def test_what_was_recorded_after_the_erasure_is_not_erased(story: Services) -> None:
    erase_subject(story, "acme", "ada")
    say(story, "I am back.")
    taken = document(story)
    with operator_transaction(story.pool) as conn:
        for table in ("episodes", "subjects", "runs"):
            conn.execute(f"delete from {table}")
    assert take_in(story, taken).episodes_imported == 1


def test_an_operator_may_take_in_what_was_erased_by_saying_so(story: Services) -> None:
    taken = document(story)
    erase_subject(story, "acme", "ada")
    done = take_in(story, taken, Wishes(by="dpo", include_erased=True))
    assert done.episodes_imported == 3 and done.skipped_erased == 0
    with operator_transaction(story.pool) as conn:
        details = conn.execute("select details from audit_log where action = 'subject.import'").fetchone()
    assert details is not None and json.loads(bytes(details[0]))["include_erased"] is True


def test_a_memory_that_was_erased_does_not_come_back(story: Services) -> None:
    taken = document(story)
    victim = next(memory for memory in taken["memories"] if "Lyon" in memory["content"])
    erase_memory(story, UUID(victim["id"]), tenant_id=None, asked=Asked())
    done = take_in(story, taken)
    assert done.skipped_erased >= 1 and "memories" not in done.rows_imported
    assert victim["id"] not in {memory["id"] for memory in document(story)["memories"]}


def test_documents_of_version_1_0_are_read_and_written(story: Services) -> None:
    old = document(story, version="1.0")
    assert old["format_version"] == "1.0" and set(old["counts"]) == {"episodes", "memories"}
    assert old["checksum"] == checksum_1_0(old["episodes"], old["memories"])
    assert {"last_compiled_at", "payload", "occurred_at"} <= set(old["episodes"][0])
    assert [episode["last_compiled_at"] is None for episode in old["episodes"]] == [False, False, True]
    before = seen(story)
    forget(story)
    done = take_in(story, old)
    assert done.episodes_imported == 3 and done.indexing
    index(story)
    after = seen(story)
    assert after["contexts"] == before["contexts"]
    assert after["counters"][3:5] == before["counters"][3:5]  # The third episode still waits to be compiled.


def test_the_checksum_of_version_1_0_is_the_contracts() -> None:
    episodes = [{"id": "é", "payload": {"b": 1.5, "a": None}}]
    memories = [{"confidence": 0.9}, {"confidence": 1.0}]
    from hashlib import sha256

    expected = json.dumps({"episodes": episodes, "memories": memories}, sort_keys=True)
    assert checksum_1_0(episodes, memories) == sha256(expected.encode()).hexdigest()


def test_a_block_that_contradicts_itself_is_refused(story: Services) -> None:
    from pipelines.portability.rows import look_at

    block = document(story)["passage_blocks"][0]
    block["terms"] = block["terms"][:-8]
    with pytest.raises(BadRequest, match="terms"):
        look_at("passage_blocks", 0, json.dumps(block).encode())


def test_payloads_arrive_as_the_text_they_were(story: Services) -> None:
    episode = NewEpisode(subject_id="ada", source="s", type="t", payload={"z": 1.50, "a": "\u2028"})
    append_episodes(story, "acme", [episode], request_id=None)
    with operator_transaction(story.pool) as conn:
        before = conn.execute("select payload::text from episodes order by seq").fetchall()
    taken = lines(story)
    forget(story)
    source = Lines(iter(taken.splitlines(keepends=True)))
    assert source.next_document()
    import_document(story, source, ME)
    with operator_transaction(story.pool) as conn:
        assert conn.execute("select payload::text from episodes order by seq").fetchall() == before


def test_an_export_sees_one_moment(story: Services) -> None:
    record_resolution(story, "acme", subject_id="ada", session_id="s1", summary="first")
    parts: Iterator[bytes] = export_subject(story, "acme", "ada", form="jsonl", by="dpo")
    taken = [next(parts)]
    say(story, "Too late for the export.")
    taken += parts
    assert b"Too late" not in b"".join(taken)
