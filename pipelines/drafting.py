"""From waiting episodes to drafts: the reading half of a compilation, and the pure rules it hands the episodes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from config.ids import uuid7
from pipelines.compilation import DraftMemory, EpisodeInput, Utterance
from pipelines.episode_text import episode_turns
from pipelines.failures import describe
from pipelines.heuristic import compile_episode
from pipelines.passages import Passage, memory_passage, split_episode
from storage import subjects
from storage.episodes import UncompiledEpisode, uncompiled_episodes
from storage.transactions import Connection

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest episodes of a subject that are not compiled, and whose voices it knows.

    `models` are those whose vectors their passages need, the one the subject is read with first; None is the one that
    the process is configured with.
    """

    after_seq: int
    episodes: list[UncompiledEpisode]
    speakers: list[str]
    models: tuple[str | None, ...] = (None,)


class FailedEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that cannot be compiled, and why."""

    id: UUID
    seq: int
    error: str


class Drafts(msgspec.Struct, frozen=True, kw_only=True):
    """What compiling a batch of episodes proposes; `ids[i]` will be the id of `memories[i]` if it is published.

    The batch is all episodes with sequence numbers after `after_seq` up to `through_seq`; nothing was drafted from
    those that `failed`. `notes` are what the run's result says about the batch.
    """

    after_seq: int
    through_seq: int
    episodes: int
    ids: list[UUID]
    memories: list[DraftMemory]
    failed: list[FailedEpisode] = []
    notes: dict[str, str] = {}


def load_waiting(conn: Connection, tenant_id: str, subject_id: str, *, limit: int) -> Waiting:
    """Read the oldest episodes behind the subject's compile watermark."""
    progress = subjects.progress(conn, tenant_id, subject_id)
    if progress is None:
        return Waiting(after_seq=0, episodes=[], speakers=[])
    episodes = uncompiled_episodes(conn, tenant_id, subject_id, after_seq=progress.compiled_seq, limit=limit)
    return Waiting(
        after_seq=progress.compiled_seq,
        episodes=episodes,
        speakers=progress.speakers,
        models=(progress.embedding_model, *progress.changing_models),
    )


def draft_subject(waiting: Waiting, *, kind_ttl_days: Mapping[str, int]) -> Drafts:
    """Compile every waiting episode with the heuristic compiler. One that it fails on does not stop the others."""
    drafts: list[DraftMemory] = []
    failed: list[FailedEpisode] = []
    for episode in waiting.episodes:
        try:
            read = read_episode(episode, waiting.speakers)
            drafts += compile_episode(*read, kind_ttl_days=kind_ttl_days)
        except Exception as ex:
            # Rules over one episode's text read nothing else: whatever they raise, they would raise again.
            failed.append(FailedEpisode(id=episode.id, seq=episode.seq, error=describe(ex)))
    last = waiting.episodes[-1].seq if waiting.episodes else waiting.after_seq
    return Drafts(
        after_seq=waiting.after_seq,
        through_seq=last,
        episodes=len(waiting.episodes),
        ids=[uuid7() for _ in drafts],
        memories=drafts,
        failed=failed,
    )


def read_episode(episode: UncompiledEpisode, speakers: Sequence[str]) -> tuple[EpisodeInput, list[Utterance]]:
    """An episode as compilers read it, and what was said in it."""
    payload, metadata = _decode_object(episode.payload), _decode_object(episode.metadata)
    turns = episode_turns(payload, episode.body, source=episode.source, metadata=metadata, known=speakers)
    utterances = [
        Utterance(turn.speaker or None, turn.role, episode.body[turn.start : turn.stop], turn.at) for turn in turns
    ]
    return _input(episode, payload, metadata), utterances


def passages_of_episodes(episodes: Sequence[UncompiledEpisode], speakers: Sequence[str]) -> list[Passage]:
    """The turns of episodes, in their order."""
    return [
        passage
        for episode in episodes
        for passage in split_episode(
            _decode_object(episode.payload),
            episode_id=episode.id,
            text=episode.body,
            source=episode.source,
            session_id=episode.session_id,
            occurred_at=episode.occurred_at,
            metadata=_decode_object(episode.metadata),
            known_speakers=speakers,
        )
    ]


def passages_of_drafts(drafts: Drafts) -> list[Passage]:
    """One passage per drafted memory, in the order of the drafts."""
    return [
        memory_passage(
            memory_id=memory_id,
            kind=draft.kind,
            content=draft.content,
            valid_from=draft.valid_from,
            valid_to=draft.valid_to,
        )
        for memory_id, draft in zip(drafts.ids, drafts.memories, strict=True)
    ]


def _input(episode: UncompiledEpisode, payload: dict[str, Any], metadata: dict[str, Any]) -> EpisodeInput:
    return EpisodeInput(
        id=episode.id,
        subject_id=episode.subject_id,
        session_id=episode.session_id,
        source=episode.source,
        type=episode.type,
        payload=payload,
        metadata=metadata,
        occurred_at=episode.occurred_at,
        created_at=episode.created_at,
        seq=episode.seq,
        text=episode.body,
    )
