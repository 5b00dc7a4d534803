"""What one process owns and hands to the pipelines: settings, connections, the embedder, the way to wake a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from pipelines.tenant_limits import TenantLimits
from pipelines.usage import Usage
from storage.passage_cache import PassageCache
from storage.transactions import Pool


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def model(self) -> str:
        """Name stored with the vectors; vectors of different models are never compared."""

    @property
    def dimensions(self) -> int:
        """Width of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One unit row per text, (n, dimensions); a zero row for a text without words."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one process."""

    settings: Settings
    pool: Pool
    embedder: Embedder | None
    #: Raises when the broker does not answer.
    ping_broker: Callable[[], None]
    #: What tenants used here, and what their limits are.
    usage: Usage = field(default_factory=Usage)
    tenant_limits: TenantLimits = field(default_factory=TenantLimits)
    #: Large subjects as they were last read; None where nobody asks for context.
    passages: PassageCache | None = None
