"""Appending episodes."""

from __future__ import annotations

from api.operations import Call, Operation
from api.quotas import require_quota
from api.schemas.episodes import BatchCreate, BatchCreated, EpisodeCreate, EpisodeHeaders
from pipelines.ingest import append_episodes
from pipelines.policy.in_force import caller_of
from storage.rows import Episode


def create(call: Call) -> Episode:
    require_quota(call.services, call.request, "episodes")
    key = call.headers.idempotency_key
    episode = call.body.new_episode(default_key=key)
    (stored,) = append_episodes(
        call.services, call.tenant_id, [episode], request_id=call.request_id, caller=caller_of(call.principal)
    )
    return stored


def create_batch(call: Call) -> BatchCreated:
    require_quota(call.services, call.request, "episodes", len(call.body.episodes))
    episodes = [episode.new_episode() for episode in call.body.episodes]
    stored = append_episodes(
        call.services,
        call.tenant_id,
        episodes,
        request_id=call.request_id,
        batch=True,
        caller=caller_of(call.principal),
    )
    return BatchCreated(episodes_created=len(stored), episodes=stored)


OPERATIONS = [
    Operation(
        "POST",
        "/v1/episodes",
        "Append an episode",
        create,
        {201: Episode},
        tag="Episodes",
        body=EpisodeCreate,
        headers=EpisodeHeaders,
        errors=(413, 422, 503),
        description="A repetition under an idempotency key returns the stored episode; where the policy withholds that"
        " from the caller, what was sent, under the stored id. The key is taken from the body,"
        " else from `metadata.idempotency_key`, else from the `Idempotency-Key` header.",
    ),
    Operation(
        "POST",
        "/v1/episodes/batch",
        "Append up to 100 episodes, all or none",
        create_batch,
        {201: BatchCreated},
        tag="Episodes",
        body=BatchCreate,
        errors=(413, 422, 503),
    ),
]
