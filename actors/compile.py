"""The compile pipeline as a chain of actors: compile → label → embed (→ reconcile) → publish.

Each actor does one stage of a run; the run's row says which stage is due, so the chain goes on wherever it was cut.
Where a model compiles, the same actors get the runs of the queue `llm`, all of their stages.
"""

from __future__ import annotations

import dramatiq

from actors.stages import stage_actor
from pipelines import compile_stages, poison
from pipelines.compile_stages import COMPILE, EMBED, LABEL, PUBLISH, RECONCILE

QUEUE = "compile"

dramatiq.get_broker().declare_queue("llm")

compile_episodes = stage_actor(COMPILE, COMPILE, compile_stages.draft, queue=QUEUE)
label_drafts = stage_actor(COMPILE, LABEL, compile_stages.label, queue=QUEUE)
embed_drafts = stage_actor(COMPILE, EMBED, compile_stages.embed, queue=QUEUE)
reconcile_drafts = stage_actor(COMPILE, RECONCILE, compile_stages.reconcile, queue=QUEUE)
publish_drafts = stage_actor(COMPILE, PUBLISH, compile_stages.publish, queue=QUEUE)

#: One episode that was set aside, when an operator says so.
compile_one = stage_actor(poison.KIND, COMPILE, compile_stages.compile_one, queue=QUEUE)
