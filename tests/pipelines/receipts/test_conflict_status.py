"""Receipts say which fact an entry states and how a conflict about it ended, so that a silent one shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from pipelines.claims import DEFAULT_CLAIM_KEYS
from pipelines.receipts.conflict_status import stated
from pipelines.receipts.reading import body_of
from pipelines.receipts.replay import replay
from pipelines.services import Services
from storage.rows import Memory
from tests.pipelines.receipts.stories import ask, compile_all, receipt, tell

HOME = "location.current_home"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def memory(key: str | None = HOME, value: str = "Lyon", *, status: str = "active", **metadata: Any) -> Memory:
    if key is not None:
        metadata["claim"] = {"schema_version": 1, "key": key, "value": value, "valid_from": NOW.isoformat()}
    return Memory(
        id=uuid4(),
        subject_id="ada",
        kind="profile_fact",
        content=value,
        summary=value,
        confidence=1.0,
        valid_from=NOW,
        valid_to=None,
        source_episode_ids=[],
        metadata=msgspec.Raw(msgspec.json.encode(metadata)),
        status=status,
        sensitivity_labels=[],
        created_at=NOW,
        updated_at=NOW,
    )


def told(*memories: Memory, **added: Any) -> list[tuple[str | None, str]]:
    return [tuple(each) for each in stated(memories, DEFAULT_CLAIM_KEYS.with_additions(added))]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([memory(None)], [(None, "none")]),
        ([memory()], [(HOME, "none")]),
        # Two values of what has one: nobody decided, and the contract's check for a silent merge fires.
        ([memory(), memory(value="Porto")], [(HOME, "unresolved")] * 2),
        ([memory(), memory(value="lyon")], [(HOME, "merged")] * 2),
        ([memory("skills", "Rust"), memory("skills", "Go")], [("skills", "merged")] * 2),
        # Nobody declared how many values it has.
        ([memory("own.key", "a"), memory("own.key", "b")], [("own.key", "unresolved")] * 2),
        ([memory(status="superseded"), memory(value="Porto")], [(HOME, "overridden"), (HOME, "none")]),
        ([memory(conflict="overridden")], [(HOME, "overridden")]),
        ([memory(None, conflict="merged")], [(None, "merged")]),
        # Two people's homes are two facts, and neither of them is named.
        (
            [memory(speaker="Bob"), memory(value="Porto", speaker="Eve"), memory(value="Nice", speaker="Bob")],
            [(f"{HOME}@1", "unresolved"), (f"{HOME}@2", "none"), (f"{HOME}@1", "unresolved")],
        ),
        # What a client wrote into metadata may be anything.
        ([memory(None, claim="?", speaker=7, conflict=[])], [(None, "none")]),
        ([memory("Not A Key")], [(None, "none")]),
    ],
)
def test_what_is_said_of_each_entry(entries: list[Memory], expected: list[tuple[str | None, str]]) -> None:
    assert told(*entries) == expected


def test_a_tenant_says_how_many_values_its_keys_have() -> None:
    entries = [memory("own.key", "a"), memory("own.key", "b")]
    assert told(*entries, **{"own.key": "multi"}) == [("own.key", "merged")] * 2


def test_receipts_tell_how_conflict_resolution_decided(services: Services) -> None:
    tell(services, "I live in Lyon.")
    compile_all(services)
    before = ask(services, "Where does Ada live?")
    assert facts(services, before) == [(HOME, "none")]
    tell(services, "I live in Porto now.", day=3)
    compile_all(services)
    after = ask(services, "Where does Ada live?")
    assert facts(services, after) == [(HOME, "overridden")]
    # The past is rebuilt with what was known of the conflict then.
    again = replay(services, receipt(services, before), memories="as_recorded")
    assert not again.diff.context_hash.changed
    assert facts(services, before) == [(HOME, "none")]


def test_history_that_arrives_late_is_noted_in_the_memory_that_stays(services: Services) -> None:
    tell(services, "I live in Porto.", day=3)
    compile_all(services)
    tell(services, "I live in Lyon.", day=0)
    compile_all(services)
    assert facts(services, ask(services, "Where does Ada live?")) == [(HOME, "overridden")]


def facts(services: Services, delivered: Any) -> list[tuple[str | None, str]]:
    entries = body_of(receipt(services, delivered))["selected_entries"]
    return [
        (entry["fact_key"], entry["conflict_status"])
        for entry in entries
        if entry["type"] == "memory" and entry["kind"] == "profile_fact"
    ]
