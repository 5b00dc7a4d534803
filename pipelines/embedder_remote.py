"""Embedding by a provider's model: batches, unit vectors, and a clear word when they are of another width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from config.errors import Unavailable
from config.settings import Settings
from pipelines.embedding_models import ModelName
from pipelines.providers.calls import Embeddings
from pipelines.providers.desk import ProviderDesk, Urgency
from pipelines.providers.endpoints import endpoint_of

#: Texts of one call, and characters of all of them: below the limits that providers set.
BATCH_TEXTS = 96
BATCH_CHARS = 100_000

#: Characters of one text that are embedded: models read about 8,000 tokens.
MOST_CHARS = 20_000


class WrongDimension(Unavailable):
    """The model's vectors are not as wide as it was said. Nobody's content is at fault: work waits for the operator."""


class RemoteEmbedder:
    """A provider's model, asked through the desk. Safe to share between threads.

    Nothing is tried again here: runs have their own retries, and a query goes on without.
    """

    is_remote = True
    is_instant = False
    reads_sentences = True

    def __init__(self, name: ModelName, settings: Settings, desk: ProviderDesk) -> None:
        self.model = str(name)
        self.dimensions = name.dimensions
        self._query_seconds = settings.embedding_query_timeout_seconds
        self._seconds = settings.litellm_timeout_seconds
        self._endpoint = endpoint_of(
            settings, name.name or "", base=settings.litellm_embedding_api_base, timeout_seconds=self._seconds
        )
        self._desk = desk

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows of texts, (n, dimensions); zero rows for empty texts, which providers refuse.

        Raises:
            ProviderFailure: when the provider fails.
            WrongDimension: when the model makes vectors of another width than it was configured with.
        """
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for rows in _batches(texts):
            out[rows] = self._vectors([texts[row][:MOST_CHARS] for row in rows], self._seconds, "background").vectors
        return _normalised(out)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Unit vector of what somebody waits for.

        Raises:
            ProviderFailure: when there is none within `STATEWAVE_EMBEDDING_QUERY_TIMEOUT_SECONDS`.
            WrongDimension: as `embed`.
        """
        if not text.strip():
            return np.zeros(self.dimensions, dtype=np.float32)
        made = self._vectors([text[:MOST_CHARS]], self._query_seconds, "interactive")
        vector: NDArray[np.float32] = _normalised(made.vectors)[0]
        return vector

    def _vectors(self, texts: list[str], seconds: float, urgency: Urgency) -> Embeddings:
        made = self._desk.embed(
            self._endpoint, texts, dimensions=self.dimensions, timeout_seconds=seconds, urgency=urgency
        )
        width = made.vectors.shape[1]
        if width != self.dimensions:
            raise WrongDimension(
                f"{self._endpoint.model} makes vectors of {width} dimensions and not of {self.dimensions}: set"
                f" STATEWAVE_EMBEDDING_DIMENSIONS={width}, or change the model with"
                f" `statewave embeddings migrate --model litellm:{self._endpoint.model}@{width}`"
            )
        return made


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Indexes of the texts that hold anything, in batches."""
    batch: list[int] = []
    chars = 0
    for index, text in enumerate(texts):
        length = min(len(text), MOST_CHARS)
        if not text.strip():
            continue
        if batch and (len(batch) == BATCH_TEXTS or chars + length > BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(index)
        chars += length
    if batch:
        yield batch


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: NDArray[np.float32] = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return out
