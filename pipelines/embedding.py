"""Embedding what a compilation will publish: the turns of its episodes and the memories it drafted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
import structlog

from config.deferred import np
from config.errors import Unavailable
from pipelines.drafting import Drafts, Waiting, passages_of_drafts, passages_of_episodes
from pipelines.passages import Passage, columns_of, speakers_of, telling_words
from pipelines.providers.account import Account, BudgetExhausted, charged_to
from pipelines.providers.calls import ProviderFailure
from pipelines.services import Embedder, Services
from storage.passage_columns import PassageColumns, quantise, take
from storage.passage_vectors import ModelVectors
from storage.passages import decode_blocks, encode_block
from storage.rows import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray


log = structlog.get_logger()

#: Name under which passages without vectors are kept.
NO_MODEL = "none"


class _Encoded(msgspec.Struct, array_like=True):
    turns: int
    speakers: list[str]
    columns: tuple[bytes, bytes, bytes, bytes]
    vectors: list[tuple[str, int, bytes, bytes]]
    model: str | None


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
    #: The model that a subject which has no vectors so far is read with from now on; None without an embedder.
    model: str | None

    def to_bytes(self) -> bytes:
        """A form that a run can keep between two stages."""
        vectors = [
            (part.model, part.vectors.shape[1], part.scale.astype("<f4").tobytes(), part.vectors.tobytes())
            for part in self.vectors
        ]
        columns = encode_block(self.columns)
        return msgspec.msgpack.encode(_Encoded(self.turns, self.speakers, columns, vectors, self.model))

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
            model=encoded.model,
        )

    def rows(self, kept: NDArray[np.int64]) -> EmbeddedPassages:
        """Some of the passages, in the given order."""
        return replace(
            self,
            columns=take(self.columns, kept),
            vectors=[ModelVectors(part.model, part.scale[kept], part.vectors[kept]) for part in self.vectors],
        )


def embed_waiting(waiting: Waiting, drafts: Drafts, services: Services, run: Run) -> EmbeddedPassages:
    """Embed a batch: the turns of its episodes without those that failed, and the memories drafted from them.

    Raises:
        ProviderFailure: when the model that the subject is read with is a provider's, and does not answer.
    """
    failed = {episode.id for episode in drafts.failed}
    episodes = [episode for episode in waiting.episodes if episode.id not in failed]
    turns = passages_of_episodes(episodes, waiting.speakers)
    embedders = services.embedders_of(waiting.models)
    account = Account(services.pool, services.settings, run.tenant_id, run.subject_id, run.id)
    with charged_to(account):
        return embed_passages(turns, passages_of_drafts(drafts), embedders, speakers=waiting.speakers)


def embed_passages(
    turns: Sequence[Passage],
    memories: Sequence[Passage],
    embedders: Sequence[Embedder],
    *,
    speakers: Sequence[str] = (),
) -> EmbeddedPassages:
    """Embed turns and memories in one call of each embedder.

    A model that the subject is not read with may fail, and none is asked beyond the tenant's budget: a run brings
    those vectors later (`pipelines.embedding_fill`).
    """
    passages = [*turns, *memories]
    vectors = []
    for number, embedder in enumerate(embedders):
        try:
            scale, quantised = quantise(vectors_of(passages, embedder, speakers=speakers))
        except BudgetExhausted:
            log.info("passages not embedded", model=embedder.model, because="budget exhausted")
            continue
        except (ProviderFailure, Unavailable) as ex:
            if number == 0:
                raise
            log.warning("passages not embedded", model=embedder.model, because=type(ex).__name__)
            continue
        vectors.append(ModelVectors(embedder.model, scale, quantised))
    return EmbeddedPassages(
        turns=len(turns),
        speakers=speakers_of(turns),
        columns=columns_of(passages, vectors_of(passages, None)),
        vectors=vectors,
        model=embedders[0].model if embedders else None,
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
