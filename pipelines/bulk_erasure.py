"""Erasing subjects by filter: first a look at what it means, then each on its own (contract: governance §10)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import structlog
from psycopg import Error as DatabaseError

from config.clock import utcnow
from config.errors import BadRequest, Conflict
from config.ids import uuid7
from pipelines import audit
from pipelines.erasure import Asked, erase_subject
from pipelines.services import Services
from storage import subject_filters
from storage.subject_filters import Matched, MatchedSubject, SubjectFilter
from storage.transactions import operator_transaction

log = structlog.get_logger()

#: Subjects that one call erases at most, and seconds after which it begins no further one: a request must end before
#: its connection does. What is left is told, and is taken by calling again.
MOST_AT_ONCE = 10_000
SECONDS_AT_MOST = 20.0

#: Subjects that a look shows.
SAMPLE = 20


class FailedSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject that could not be erased, and the kind of error; the others were."""

    subject_id: str
    tenant_id: str
    error: str


class BulkErasure(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion by filter did. Every receipt of it names `part_of`."""

    part_of: UUID
    subjects: int
    episodes: int
    memories: int
    failed: list[FailedSubject]
    #: Subjects that the filter still means, those that failed included.
    remaining: int


def filter_of(
    *, tenant_id: str | None, prefix: str | None, older_than_days: int | None, match_all: bool
) -> SubjectFilter:
    """The filter that an operator describes.

    Args:
        older_than_days: without an episode for so many days.

    Raises:
        BadRequest: when nothing narrows it and `match_all` does not say that this is meant.
    """
    if not match_all and prefix is None and older_than_days is None and tenant_id is None:
        raise BadRequest("name a subject_id_prefix, older_than_days or a tenant_id, or say match_all")
    quiet_since = None if older_than_days is None else utcnow() - timedelta(days=older_than_days)
    return SubjectFilter(tenant_id=tenant_id, prefix=prefix, quiet_since=quiet_since)


def preview(services: Services, which: SubjectFilter) -> tuple[Matched, Sequence[MatchedSubject]]:
    """How much the filter means, and the first subjects it means."""
    with operator_transaction(services.pool) as conn:
        return subject_filters.count(conn, which), subject_filters.first(conn, which, limit=SAMPLE)


def erase_matching(services: Services, which: SubjectFilter, *, expected_count: int, asked: Asked) -> BulkErasure:
    """Erase every subject that the filter means, each in a transaction and with a receipt of its own.

    It ends after a time, with `remaining` subjects left for the next call.

    Raises:
        Conflict: when they are not as many as expected; nothing was erased then.
    """
    part_of = uuid7()
    with operator_transaction(services.pool) as conn:
        matched = subject_filters.count(conn, which).subjects
        if matched != expected_count:
            raise Conflict(f"the filter means {matched} subjects now, not {expected_count}: look again")
        found = subject_filters.first(conn, which, limit=MOST_AT_ONCE)
        audit.record(
            conn,
            actor=asked.by,
            action="subjects.erase",
            tenant_id=which.tenant_id,
            target=str(part_of),
            details={"subjects": expected_count, "reason": asked.reason},
            request_id=asked.request_id,
        )
    asked = msgspec.structs.replace(asked, part_of=part_of)
    subjects = episodes = memories = 0
    failed = []
    until = time.monotonic() + SECONDS_AT_MOST
    for subject in found:
        if subjects and time.monotonic() > until:
            break
        try:
            done = erase_subject(services, subject.tenant_id, subject.subject_id, asked=asked)
        except DatabaseError as ex:
            log.error("subject not erased", tenant_id=subject.tenant_id, error=type(ex).__name__)
            error = type(ex).__name__
            failed.append(FailedSubject(subject_id=subject.subject_id, tenant_id=subject.tenant_id, error=error))
            continue
        subjects, episodes, memories = subjects + 1, episodes + done.episodes, memories + done.memories
    return BulkErasure(
        part_of=part_of,
        subjects=subjects,
        episodes=episodes,
        memories=memories,
        failed=failed,
        remaining=expected_count - subjects,
    )
