"""What a repetition under an idempotency key is answered with: the stored episode, unless the policy withholds it.

Whoever repeats may be another caller than the one who told it first. Where the policy withholds the stored episode from
the caller, the answer is what the caller sent itself, under the id and the time of what is stored: an honest client
gets the bytes that it got the first time, and nobody reads what somebody else has sent.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from config.errors import Unavailable
from pipelines.policy.evaluation import Caller
from pipelines.policy.in_force import reading_as
from pipelines.services import Services
from storage.rows import Episode

#: Subject and idempotency key.
Key = tuple[str, str]


def shown_repetitions(
    services: Services, tenant_id: str, caller: Caller, stored: Mapping[Key, Episode], sent: Mapping[Key, Episode]
) -> dict[Key, Episode]:
    """The answer to each repetition, as the caller may see it.

    A policy that cannot be read withholds everything; repeating succeeds all the same, because nothing is handed out.

    Args:
        stored: what is stored under each key.
        sent: what the caller sent under it.
    """
    if not stored:
        return {}
    try:
        with reading_as(services, tenant_id, caller) as reader:
            visible = reader.visibilities(sorted({subject_id for subject_id, _ in stored}))
    except Unavailable as ex:
        if ex.code != "policy_unavailable":
            raise
        return {key: _as_sent(sent[key], episode) for key, episode in stored.items()}
    return {
        key: episode if visible[key[0]].listed_episodes.admits(episode.id) else _as_sent(sent[key], episode)
        for key, episode in stored.items()
    }


def _as_sent(sent: Episode, stored: Episode) -> Episode:
    # What was sent without a time got the time of its arrival, so it gets the same one again.
    occurred_at = stored.created_at if sent.occurred_at == sent.created_at else sent.occurred_at
    return msgspec.structs.replace(sent, id=stored.id, created_at=stored.created_at, occurred_at=occurred_at)
