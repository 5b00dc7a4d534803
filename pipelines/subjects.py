"""Listing subjects."""

from __future__ import annotations

import msgspec

from pipelines.policy.evaluation import ANONYMOUS, Caller
from pipelines.policy.in_force import reading_as
from pipelines.policy.visibility import Visibility
from pipelines.services import Services
from storage import subjects
from storage.rows import Subject


def list_subjects(
    services: Services, tenant_id: str, *, limit: int, offset: int, caller: Caller = ANONYMOUS
) -> tuple[list[Subject], int]:
    """One page of the tenant's subjects in the order of their ids, and how many there are in all.

    What the policy hides from the caller is not counted.
    """
    with reading_as(services, tenant_id, caller) as reader:
        page, total = subjects.list_subjects(reader.conn, tenant_id, limit=limit, offset=offset)
        seen = reader.visibilities([subject.subject_id for subject in page])
    return [_counted(subject, seen[subject.subject_id]) for subject in page], total


def _counted(subject: Subject, visibility: Visibility) -> Subject:
    return msgspec.structs.replace(
        subject,
        episode_count=visibility.listed_episodes.count(subject.episode_count),
        memory_count=visibility.listed_memories.count(subject.memory_count),
    )
