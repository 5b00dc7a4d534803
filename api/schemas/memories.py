"""Compiling and searching memories (contract: core §6.1 to §6.3)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.schemas.fields import CallerId, CallerType, SubjectId
from storage.rows import Memory

JobStatus = Literal["pending", "running", "completed", "failed"]


class CompileRequest(msgspec.Struct, kw_only=True):
    """Which subject to compile, and whether to wait for it."""

    subject_id: SubjectId
    asynchronous: Annotated[bool, Meta(description="Answer at once with a job to ask after.")] = msgspec.field(
        default=False, name="async"
    )


class CompileResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a synchronous compile made. Call again while `has_more` is true."""

    subject_id: str
    memories_created: int
    memories: list[Memory]
    has_more: bool
    remaining_episodes: int


class CompileAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """The job that will compile the subject; `attached` when it had been asked for before."""

    job_id: str
    status: JobStatus
    subject_id: str
    attached: bool


class CompileJobPath(msgspec.Struct, kw_only=True):
    """Names a compile job."""

    job_id: str


class CompileJob(msgspec.Struct, frozen=True, kw_only=True):
    """How far a compile job is. Memories appear when it has completed, all at once."""

    job_id: str
    status: JobStatus
    subject_id: str
    memories_created: int
    memories: list[Memory]
    error: str | None


class SearchQuery(msgspec.Struct, kw_only=True):
    """What to look for among the active memories of a subject."""

    subject_id: SubjectId
    q: Annotated[str, Meta(description="Words to look for; without any, the newest memories are returned.")] | None = (
        None
    )
    kind: Annotated[str, Meta(description="Only memories of this kind.", examples=["profile_fact"])] | None = None
    semantic: Annotated[bool, Meta(description="Rank by meaning as well as by words.")] = False
    limit: Annotated[int, Meta(ge=1, le=500, description="Memories at most.")] = 20
    caller_id: CallerId | None = None
    caller_type: CallerType | None = None


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The memories found, best first, and how they were looked for."""

    memories: list[Memory]
    search_mode: str
