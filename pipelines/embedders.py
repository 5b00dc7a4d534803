"""Which embedder a process uses."""

from __future__ import annotations

from config.settings import Settings
from pipelines.services import Embedder


def open_embedder(settings: Settings) -> Embedder | None:
    """The embedder of `STATEWAVE_EMBEDDING_PROVIDER`; None for `none`. Weights are loaded on first use."""
    if settings.embedding_provider == "none":
        return None
    from pipelines.embedder_local import LocalEmbedder

    return LocalEmbedder()
