"""The compile pipeline as a chain of actors: compile → label → embed → publish.

Each actor does one stage of a run and wakes the next; the run's row says which stage is due, so the chain goes on
wherever it was cut.
"""

from __future__ import annotations

from uuid import UUID

import dramatiq

from actors.process import services
from actors.stages import work_on
from actors.wake import actor_name
from pipelines import backoff, compile_stages
from pipelines.compile_stages import COMPILE, EMBED, LABEL, PUBLISH

#: Milliseconds after which Dramatiq interrupts a stage. Statement timeouts are far below.
TIME_LIMIT_MS = 600_000


@dramatiq.actor(actor_name=actor_name("compile", COMPILE), queue_name="compile", time_limit=TIME_LIMIT_MS)
def compile_episodes(run_id: str) -> None:
    """Draft memories and passages from the subject's uncompiled episodes."""
    if compile_stages.is_quiet(services(), UUID(run_id)):
        work_on(run_id, COMPILE, compile_stages.draft, backoff.COMPILE)


@dramatiq.actor(actor_name=actor_name("compile", LABEL), queue_name="compile", time_limit=TIME_LIMIT_MS)
def label_drafts(run_id: str) -> None:
    """Label what was drafted."""
    work_on(run_id, LABEL, compile_stages.label, backoff.COMPILE)


@dramatiq.actor(actor_name=actor_name("compile", EMBED), queue_name="compile", time_limit=TIME_LIMIT_MS)
def embed_drafts(run_id: str) -> None:
    """Embed what was drafted."""
    work_on(run_id, EMBED, compile_stages.embed, backoff.COMPILE)


@dramatiq.actor(actor_name=actor_name("compile", PUBLISH), queue_name="compile", time_limit=TIME_LIMIT_MS)
def publish_drafts(run_id: str) -> None:
    """Resolve conflicts and publish, in one transaction."""
    work_on(run_id, PUBLISH, compile_stages.publish, backoff.COMPILE)
