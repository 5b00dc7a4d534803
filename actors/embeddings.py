"""Runs that make vectors outside of compilations: of changes of the model, and of subjects that lack some.

Their queue is the model's: `llm` for a provider's, `maintenance` for one of this machine. A message says only which
run is meant, so each actor is declared once; Dramatiq finds it by its name on either queue.
"""

from __future__ import annotations

import dramatiq

from actors.stages import stage_actor
from pipelines import embedding_change, embedding_fill, embedding_stages

begin_change = stage_actor(embedding_change.KIND, embedding_change.BEGIN, embedding_stages.begin, queue="maintenance")
fill_shard = stage_actor(embedding_change.KIND, embedding_change.FILL, embedding_stages.fill, queue="maintenance")
finish_change = stage_actor(
    embedding_change.KIND, embedding_change.FINISH, embedding_stages.finish, queue="maintenance"
)
fill_subject = stage_actor(embedding_fill.KIND, embedding_fill.STAGE, embedding_fill.fill, queue="maintenance")

dramatiq.get_broker().declare_queue("llm")
