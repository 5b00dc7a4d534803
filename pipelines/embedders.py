"""Which embedder a process uses, and how others are opened by their names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import structlog

from config.settings import Settings
from pipelines.embedding_models import BUNDLED, ModelName, parse_model
from pipelines.services import Embedder

if TYPE_CHECKING:
    from pipelines.providers.desk import ProviderDesk

log = structlog.get_logger()

#: Width of a provider's vectors where none is configured (contract: core §15).
PROVIDER_DIMENSIONS = 1536


def configured_model(settings: Settings) -> str | None:
    """Name of the model that the settings describe; None for `none`.

    Raises:
        FolderMissing: when it is one of an operator's that is not here.
    """
    if settings.embedding_provider == "none":
        return None
    if settings.embedding_provider == "litellm":
        dimensions = settings.embedding_dimensions or PROVIDER_DIMENSIONS
        return str(ModelName("litellm", settings.litellm_embedding_model, dimensions))
    if settings.embedding_model in (None, BUNDLED):
        return BUNDLED
    from pipelines.embedder_folders import dimensions_of

    return str(ModelName("local", settings.embedding_model, dimensions_of(settings.embedding_model)))


def open_embedder(settings: Settings, *, desk: ProviderDesk | None = None) -> Embedder | None:
    """The embedder of the settings; None for `none`. Weights are loaded on first use."""
    model = configured_model(settings)
    return None if model is None else open_model(settings, desk)(model)


def open_model(settings: Settings, desk: ProviderDesk | None) -> Callable[[str], Embedder | None]:
    """Opens embedders by the names of their models, each once."""

    @cache
    def opened(model: str) -> Embedder | None:
        name = parse_model(model) if model != "none" else None
        if name is None:
            return None
        if name.provider == "litellm":
            if desk is None:
                return None
            from pipelines.embedder_remote import RemoteEmbedder

            return RemoteEmbedder(name, settings, desk)
        if name.name is None:
            from pipelines.embedder_local import LocalEmbedder

            return LocalEmbedder()
        from pipelines.embedder_folders import FolderMissing, open_folder

        try:
            return open_folder(name)
        except FolderMissing as ex:
            log.warning("embedding model not to be had", model=model, reason=str(ex))
            return None

    return opened
