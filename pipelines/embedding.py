"""Embedding what a compilation will publish: the turns of its episodes and the memories it drafted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.drafting import Drafts, Waiting, passages_of_drafts, passages_of_episodes
from pipelines.passages import Passage, columns_of, speakers_of, telling_words
from pipelines.services import Embedder, Services
from storage.passage_columns import PassageColumns, quantise, take
from storage.passage_vectors import ModelVectors
from storage.passages import decode_blocks, encode_block

#: Name under which passages without vectors are kept.
NO_MODEL = "none"


class _Encoded(msgspec.Struct, array_like=True):
    turns: int
    speakers: list[str]
    columns: tuple[bytes, bytes, bytes, bytes]
    vectors: list[tuple[str, int, bytes, bytes]]


@dataclass(frozen=True, slots=True)
class EmbeddedPassages:
    """Passages ready to be published: the turns, then one for every drafted memory, in the order of the drafts.

    `columns` hold no vectors. Those stand in `vectors`, once per model: first of the model that the subject is read
    with, then of those it is being moved to or may be moved back to. Without an embedder there are none.
    """

    turns: int
    speakers: list[str]
    columns: PassageColumns
    vectors: list[ModelVectors]

    @property
    def model(self) -> str | None:
        """The model that a subject without any vectors is read with from now on."""
        return self.vectors[0].model if self.vectors else None

    def to_bytes(self) -> bytes:
        """A form that a run can keep between two stages."""
        vectors = [
            (part.model, part.vectors.shape[1], part.scale.astype("<f4").tobytes(), part.vectors.tobytes())
            for part in self.vectors
        ]
        return msgspec.msgpack.encode(_Encoded(self.turns, self.speakers, encode_block(self.columns), vectors))

    @classmethod
    def from_bytes(cls, data: bytes) -> EmbeddedPassages:
        """The inverse of `to_bytes`."""
        encoded = msgspec.msgpack.decode(data, type=_Encoded)
        return cls(
            turns=encoded.turns,
            speakers=encoded.speakers,
            columns=decode_blocks([encoded.columns], dimensions=0),
            vectors=[
                ModelVectors(
                    model=model,
                    scale=np.frombuffer(scale, dtype="<f4"),
                    vectors=np.frombuffer(vectors, dtype="i1").reshape(-1, dimensions),
                )
                for model, dimensions, scale, vectors in encoded.vectors
            ],
        )

    def rows(self, kept: NDArray[np.int64]) -> EmbeddedPassages:
        """Some of the passages, in the given order."""
        return replace(
            self,
            columns=take(self.columns, kept),
            vectors=[ModelVectors(part.model, part.scale[kept], part.vectors[kept]) for part in self.vectors],
        )


def embed_waiting(waiting: Waiting, drafts: Drafts, services: Services) -> EmbeddedPassages:
    """Embed a batch: the turns of its episodes without those that failed, and the memories drafted from them."""
    failed = {episode.id for episode in drafts.failed}
    episodes = [episode for episode in waiting.episodes if episode.id not in failed]
    turns = passages_of_episodes(episodes, waiting.speakers)
    embedders = services.embedders_of(waiting.models)
    return embed_passages(turns, passages_of_drafts(drafts), embedders, speakers=waiting.speakers)


def embed_passages(
    turns: Sequence[Passage],
    memories: Sequence[Passage],
    embedders: Sequence[Embedder],
    *,
    speakers: Sequence[str] = (),
) -> EmbeddedPassages:
    """Embed turns and memories in one call of each embedder."""
    passages = [*turns, *memories]
    vectors = []
    for embedder in embedders:
        scale, quantised = quantise(vectors_of(passages, embedder, speakers=speakers))
        vectors.append(ModelVectors(embedder.model, scale, quantised))
    return EmbeddedPassages(
        turns=len(turns),
        speakers=speakers_of(turns),
        columns=columns_of(passages, vectors_of(passages, None)),
        vectors=vectors,
    )


def vectors_of(
    passages: Sequence[Passage], embedder: Embedder | None, *, speakers: Sequence[str] = ()
) -> NDArray[np.float32]:
    """Unit vectors of the passages, (n, dimensions); (n, 0) without an embedder."""
    if embedder is None:
        return np.zeros((len(passages), 0), dtype=np.float32)
    if not passages:
        return np.zeros((0, embedder.dimensions), dtype=np.float32)
    texts = [passage.text for passage in passages]
    if not embedder.reads_sentences:
        texts = telling_words(texts, speakers=[*speakers, *speakers_of(passages)])
    return embedder.embed(texts)
