"""Embedding what a compilation will publish: the turns of its episodes and the memories it drafted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.drafting import Drafts, Waiting, passages_of_drafts, passages_of_episodes
from pipelines.passages import Passage, columns_of, passage_texts, speakers_of
from pipelines.services import Embedder
from storage.passage_columns import PassageColumns
from storage.passages import decode_blocks, encode_block

#: Name under which passages without vectors are kept.
NO_MODEL = "none"


class _Encoded(msgspec.Struct, array_like=True):
    turns: int
    speakers: list[str]
    model: str
    dimensions: int
    block: tuple[bytes, bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class EmbeddedPassages:
    """Passages ready to be published: the turns, then one for every drafted memory, in the order of the drafts."""

    turns: int
    speakers: list[str]
    model: str
    columns: PassageColumns

    def to_bytes(self) -> bytes:
        """A form that a run can keep between two stages."""
        dimensions = self.columns.vectors.shape[1]
        return msgspec.msgpack.encode(
            _Encoded(self.turns, self.speakers, self.model, dimensions, encode_block(self.columns))
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> EmbeddedPassages:
        """The inverse of `to_bytes`."""
        encoded = msgspec.msgpack.decode(data, type=_Encoded)
        columns = decode_blocks([encoded.block], dimensions=encoded.dimensions)
        return cls(turns=encoded.turns, speakers=encoded.speakers, model=encoded.model, columns=columns)


def embed_waiting(waiting: Waiting, drafts: Drafts, embedder: Embedder | None) -> EmbeddedPassages:
    """Embed a batch: the turns of its episodes without those that failed, and the memories drafted from them."""
    failed = {episode.id for episode in drafts.failed}
    episodes = [episode for episode in waiting.episodes if episode.id not in failed]
    turns = passages_of_episodes(episodes, waiting.speakers)
    return embed_passages(turns, passages_of_drafts(drafts), embedder, speakers=waiting.speakers)


def embed_passages(
    turns: Sequence[Passage],
    memories: Sequence[Passage],
    embedder: Embedder | None,
    *,
    speakers: Sequence[str] = (),
) -> EmbeddedPassages:
    """Embed turns and memories in one call of the embedder; without one, vectors are absent."""
    passages = [*turns, *memories]
    return EmbeddedPassages(
        turns=len(turns),
        speakers=speakers_of(turns),
        model=embedder.model if embedder else NO_MODEL,
        columns=columns_of(passages, vectors_of(passages, embedder, speakers=speakers)),
    )


def vectors_of(
    passages: Sequence[Passage], embedder: Embedder | None, *, speakers: Sequence[str] = ()
) -> NDArray[np.float32]:
    """Unit vectors of the passages, (n, dimensions); (n, 0) without an embedder."""
    if embedder is None:
        return np.zeros((len(passages), 0), dtype=np.float32)
    if not passages:
        return np.zeros((0, embedder.dimensions), dtype=np.float32)
    return embedder.embed(passage_texts(passages, speakers=speakers))
