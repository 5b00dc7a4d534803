"""Names of embedding models. A name says everything that is needed to open the model again, keys apart.

wordllama-l2-supercat-256             the bundled model
local:minilm@384                      the sentence encoder that is an optional part of an installation
local:/models/potion-base-8M@256      a folder of the operator's, and its dimensions
litellm:text-embedding-3-small@1536   a provider's model, by LiteLLM's name, and its dimensions
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from config.errors import BadRequest

BUNDLED = "wordllama-l2-supercat-256"

Provider = Literal["local", "litellm"]


class ModelName(NamedTuple):
    """The parts of a model's name. `name` is None for the bundled one."""

    provider: Provider
    name: str | None
    dimensions: int

    def __str__(self) -> str:
        return BUNDLED if self.name is None else f"{self.provider}:{self.name}@{self.dimensions}"


def parse_model(text: str) -> ModelName:
    """Take a name apart.

    Raises:
        BadRequest: when it is none, with what would be.
    """
    if text == BUNDLED:
        return ModelName("local", None, 256)
    provider, _, rest = text.partition(":")
    name, _, dimensions = rest.rpartition("@")
    if (
        provider not in ("local", "litellm")
        or not name
        or not dimensions.isdecimal()
        or not 0 < int(dimensions) <= 65_536
    ):
        raise BadRequest(
            f"{text[:200]!r} is not the name of an embedding model: use {BUNDLED}, local:FOLDER@DIMENSIONS or"
            " litellm:MODEL@DIMENSIONS",
            code="invalid_embedding_model",
        )
    return ModelName("local" if provider == "local" else "litellm", name, int(dimensions))
