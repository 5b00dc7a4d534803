"""Searching memories: by their words, or by words and meaning together."""

from __future__ import annotations

import msgspec

from pipelines.policy.evaluation import ANONYMOUS, Caller
from pipelines.policy.in_force import reading_as
from pipelines.retrieval import rank_memories
from pipelines.services import Services
from pipelines.terms import query_languages
from storage import memories
from storage.full_text import DEFAULT, any_word_query, substring_pattern
from storage.rows import Memory

TEXT = "text"
SEMANTIC = "semantic"
TEXT_FALLBACK = "text_fallback"


class SearchOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Memories, best first, and how they were found: `text`, `semantic`, or `text_fallback` when semantic search was
    asked for and there is no embedder, or it does not answer."""

    memories: list[Memory]
    search_mode: str


def search_memories(
    services: Services,
    tenant_id: str,
    *,
    subject_id: str,
    query: str | None,
    kind: str | None = None,
    semantic: bool = False,
    limit: int = 20,
    caller: Caller = ANONYMOUS,
) -> SearchOutcome:
    """Visible memories of a subject. Without a query the newest.

    Text search finds memories that hold any word of the query in any of its forms, or the query itself as a part of
    the text, which comes first. Forms are those of the query's language, of every known one where that cannot be
    told, of the tenant's, and English. Semantic search ranks by words and embedding together, as context does.

    What the policy hides from the caller is not found. Redacted memories are among the newest, and no words find them.
    """
    stripped = (query or "").strip()
    with_meaning = semantic and bool(stripped) and services.embedder is not None
    with reading_as(services, tenant_id, caller, subject_id=subject_id) as reader:
        conn, visibility = reader.conn, reader.visibility(subject_id)
        if not stripped:
            found = memories.newest_memories(
                conn, tenant_id, subject_id, kind=kind, limit=limit, selection=visibility.listed_memories
            )
        elif with_meaning:
            found, with_meaning = rank_memories(
                services,
                conn,
                tenant_id,
                subject_id,
                query=stripped,
                kind=kind,
                limit=limit,
                visibility=visibility,
            )
        else:
            found = memories.search_text(
                conn,
                tenant_id,
                subject_id,
                query=any_word_query(stripped),
                substring=substring_pattern(stripped),
                kind=kind,
                limit=limit,
                languages=query_languages(stripped) | {reader.config.config.text_language or DEFAULT},
                selection=visibility.searched_memories,
            )
    mode = SEMANTIC if with_meaning else TEXT_FALLBACK if semantic and stripped else TEXT
    return SearchOutcome(memories=[visibility.shown(memory) for memory in found], search_mode=mode)
