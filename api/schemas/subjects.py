"""Listing subjects and forgetting one (contract: core §6.10, §6.11)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.schemas.fields import SubjectId
from api.schemas.timeline import Offset
from storage.rows import Subject


class SubjectsQuery(msgspec.Struct, kw_only=True):
    """Which page of the subjects, in the order of their ids."""

    limit: Annotated[int, Meta(ge=1, le=200, description="Subjects at most.")] = 50
    offset: Offset = 0


class SubjectList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of subjects, and how many there are in all."""

    subjects: list[Subject]
    total: int


class SubjectPath(msgspec.Struct, kw_only=True):
    """Names a subject. The id may contain slashes, encoded or not."""

    subject_id: SubjectId


class SubjectDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted; zeros when there was nothing."""

    subject_id: str
    episodes_deleted: int
    memories_deleted: int
