"""Passages of what was imported without them: one stage."""

from __future__ import annotations

from actors.stages import stage_actor
from pipelines.portability.indexing import KIND, QUEUE, STAGE, index

index_import = stage_actor(KIND, STAGE, index, queue=QUEUE)
