"""What the scale benchmark fills a database with: episodes of a support desk, compiled once by the server's own rules.

A few thousand distinct episodes are drafted, split and embedded as the server would; subjects are then made of random
choices among them, with ids, sessions and times of their own. So every stored byte has the shape of a compiled one,
and a million memories take minutes instead of hours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.conversation import Conversation
from config.ids import uuid7
from pipelines.compilation import DraftMemory
from pipelines.drafting import Waiting, draft_subject, passages_of_drafts, passages_of_episodes
from pipelines.embedding import embed_passages
from pipelines.episode_text import episode_text
from pipelines.services import Embedder
from storage.episodes import UncompiledEpisode
from storage.passage_columns import PassageColumns, concatenate

#: Distinct episodes. More would only make the preparation longer.
DISTINCT_EPISODES = 3000

#: The moment of the first episode of every subject.
FIRST_DAY = datetime(2025, 1, 6, 9, tzinfo=UTC)

_FACTS = (
    "My order number is {number} and it should go to {place}.",
    "I work as a {trade} in {place}.",
    "I prefer {channel} over phone calls.",
    "My name is {name} and I live in {place}.",
    "We are on the {plan} plan with {number} seats.",
    "The {thing} stopped working after the update to version {version}.",
    "I would like a refund of {number} euros for the {thing}.",
    "Our account manager is {name}.",
)
_ANSWERS = (
    "Thanks, I have opened ticket {number} for the {thing} and will come back to you.",
    "Please restart the {thing}, then sign in again; version {version} has the fix.",
    "The refund for the {thing} is on its way to {place}.",
    "I moved you to the {plan} plan, {name} will confirm it by {channel}.",
)
_WORDS = {
    "place": "Lisbon Oslo Lyon Leeds Graz Porto Ghent Turin Malmo Bergen Cork Bilbao Basel Trieste Tartu".split(),
    "trade": "nurse carpenter teacher plumber architect baker pilot chemist tailor surveyor".split(),
    "channel": "email chat letter text".split(),
    "name": "Ada Bruno Chiara Dmitri Elena Farid Greta Hugo Ines Jonas Kaya Liam Mira Nils Olga".split(),
    "plan": "basic team business enterprise starter".split(),
    "thing": "router printer invoice dashboard scanner password webhook calendar export import sensor label".split(),
}


@dataclass(frozen=True, slots=True)
class Material:
    """Distinct episodes with everything that compiling them made; index `i` is the same episode in every list."""

    payloads: list[bytes]
    bodies: list[str]
    memories: list[list[DraftMemory]]
    #: Rows of `columns` that belong to each episode: its turns, then its memories.
    turn_rows: list[NDArray[np.intp]]
    memory_rows: list[NDArray[np.intp]]
    columns: PassageColumns
    model: str

    def __len__(self) -> int:
        return len(self.payloads)


def make_material(
    conversations: Sequence[Conversation], embedder: Embedder, *, distinct: int = DISTINCT_EPISODES, seed: int = 11
) -> Material:
    """Draft, split and embed the distinct episodes."""
    rng = random.Random(seed)
    told = [turn for told in conversations for session in told.sessions for turn in session.turns]
    payloads: list[bytes] = []
    bodies: list[str] = []
    memories: list[list[DraftMemory]] = []
    turn_rows: list[NDArray[np.intp]] = []
    memory_rows: list[NDArray[np.intp]] = []
    parts: list[PassageColumns] = []
    rows = 0
    for number in range(distinct):
        episode = _episode(rng, told[number % len(told)].text)
        waiting = Waiting(after_seq=0, episodes=[episode], speakers=[])
        drafts = draft_subject(waiting, kind_ttl_days={})
        turns = passages_of_episodes(waiting.episodes, waiting.speakers)
        embedded = embed_passages(turns, passages_of_drafts(drafts), [embedder])
        (vectors,) = embedded.vectors
        payloads.append(bytes(episode.payload))
        bodies.append(episode.body)
        memories.append(drafts.memories)
        turn_rows.append(np.arange(rows, rows + embedded.turns))
        memory_rows.append(np.arange(rows + embedded.turns, rows + len(embedded.columns)))
        parts.append(replace(embedded.columns, scale=vectors.scale, vectors=vectors.vectors))
        rows += len(embedded.columns)
    return Material(payloads, bodies, memories, turn_rows, memory_rows, concatenate(parts), embedder.model)


def question(material: Material, rng: random.Random, chosen: Sequence[int]) -> str:
    """Something to ask a subject that was made of these episodes: a few words of one of them."""
    words = [word.strip(".,:;!?") for word in material.bodies[rng.choice(chosen)].split()]
    return "What about the " + " ".join(rng.sample(words, min(4, len(words)))) + "?"


def _episode(rng: random.Random, told: str) -> UncompiledEpisode:
    said = f"{_filled(rng, rng.choice(_FACTS))} {told}"
    messages = [{"role": "user", "content": said}, {"role": "assistant", "content": _filled(rng, rng.choice(_ANSWERS))}]
    payload = {"messages": messages}
    return UncompiledEpisode(
        id=uuid7(),
        subject_id="",
        session_id="session",
        source="bench",
        type="conversation",
        payload=msgspec.Raw(msgspec.json.encode(payload)),
        metadata=msgspec.Raw(b"{}"),
        provenance=msgspec.Raw(b"{}"),
        occurred_at=FIRST_DAY,
        created_at=FIRST_DAY,
        body=episode_text(payload),
        seq=1,
    )


def _filled(rng: random.Random, template: str) -> str:
    values = {name: rng.choice(words) for name, words in _WORDS.items()}
    return template.format(
        number=rng.randrange(1000, 99_999), version=f"{rng.randrange(9)}.{rng.randrange(40)}", **values
    )


def uuids(count: int, rng: np.random.Generator, at: datetime) -> list[UUID]:
    """Time-ordered ids such as the server gives, but many at once."""
    raw = rng.bytes(10 * count)
    head = int(at.timestamp() * 1000)
    made = []
    for place in range(count):
        tail = int.from_bytes(raw[10 * place : 10 * place + 10], "big")
        value = ((head + place) & (1 << 48) - 1) << 80 | tail
        value = value & ~(0xF << 76) | 0x7 << 76
        made.append(UUID(int=value & ~(0x3 << 62) | 0x2 << 62))
    return made
