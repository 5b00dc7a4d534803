"""What operators ask of the embedding model, and what they are told."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

ModelText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        description="`local:FOLDER@DIMENSIONS`, `litellm:MODEL@DIMENSIONS`, or the name of the bundled model.",
        examples=["litellm:text-embedding-3-small@1536"],
    ),
]


class EmbeddingsMigrate(msgspec.Struct, kw_only=True):
    """Which model all subjects are moved to; without one, to the one that this server is configured with."""

    model: ModelText | None = None


class VectorsPruned(msgspec.Struct, frozen=True, kw_only=True):
    """How many blocks of vectors were deleted."""

    blocks_deleted: int
