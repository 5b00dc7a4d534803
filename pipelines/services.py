"""What one process owns and hands to the pipelines: settings, connections, the embedder, the way to wake a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from config.deferred import np
from config.settings import Settings
from pipelines.policy.kept_judgements import KeptJudgements
from pipelines.providers.fleet import ModelFleet
from pipelines.query_vectors import QueryVectors
from pipelines.receipts.chain_writer import ChainWriter
from pipelines.tenant_limits import TenantLimits
from pipelines.usage import Usage
from storage.passage_cache import PassageCache
from storage.transactions import Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.providers.desk import ProviderDesk


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def model(self) -> str:
        """Name stored with the vectors; vectors of different models are never compared."""

    @property
    def dimensions(self) -> int:
        """Width of a vector."""

    @property
    def is_remote(self) -> bool:
        """Whether embedding waits for somebody else's machine."""

    @property
    def is_instant(self) -> bool:
        """Whether a hundred texts take no time that anybody notices: a reader need not be spared it."""

    @property
    def reads_sentences(self) -> bool:
        """Whether it is given passages as they were said. If not, without their commonest words and speakers' names."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One unit row per text, (n, dimensions); a zero row for a text without words."""

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The unit vector of what somebody waits for."""


def no_other_models(model: str) -> Embedder | None:
    """For a process that only knows the embedder it was configured with."""
    return None


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one process."""

    settings: Settings
    pool: Pool
    embedder: Embedder | None
    #: Raises when the broker does not answer.
    ping_broker: Callable[[], None]
    #: The language models; None where rules compile.
    models: ModelFleet | None = None
    #: Opens an embedder by the name of its model: for vectors that were made before the model was changed.
    open_model: Callable[[str], Embedder | None] = no_other_models
    #: Where calls to model providers are handed in; None where there is no broker.
    desk: ProviderDesk | None = None
    #: What queries were embedded lately.
    query_vectors: QueryVectors = field(default_factory=lambda: QueryVectors(None))
    #: What tenants used here, and what their limits are.
    usage: Usage = field(default_factory=Usage)
    tenant_limits: TenantLimits = field(default_factory=TenantLimits)
    #: Large subjects as they were last read; None where nobody asks for context.
    passages: PassageCache | None = None
    #: What policies decided about the subjects that were read last.
    judgements: KeptJudgements = field(default_factory=KeptJudgements)
    #: Writes the receipts of this process.
    chains: ChainWriter = field(default_factory=ChainWriter)

    def embedder_of(self, model: str | None) -> Embedder | None:
        """The embedder of a model; None if it is not to be had here, or embeddings are turned off.

        Args:
            model: None for the configured one.
        """
        if self.embedder is None or model is None or model == self.embedder.model:
            return self.embedder
        return self.open_model(model)

    def embedders_of(self, models: Sequence[str | None]) -> list[Embedder]:
        """The embedders of some models, each once, in their order."""
        found = [self.embedder_of(model) for model in models]
        return list({embedder.model: embedder for embedder in found if embedder is not None}.values())
