"""What support intelligence costs on a subject with a long history: 5,000 episodes over 500 sessions.

Two connections, as many as there are cores on the reference machine: the question is how long one request takes, not
how many can wait.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from bench.scenario import PROBES, Scenario
from bench.wire import encode

SUBJECT = "support-history"
SESSIONS = 500
EPISODES_PER_SESSION = 10
CONNECTIONS = 2
HANDOFF_TOKENS = 2000

_START = datetime(2025, 1, 1, tzinfo=UTC)
_STATUSES = ("resolved", "resolved", "open", "unresolved", "resolved")


def support_scenarios(texts: Sequence[str], *, host: str, amount: Callable[[int], int]) -> list[Scenario]:
    """Health, service levels and handoff of the subject as it stands, and health right after something changed."""
    health = encode("GET", f"/v1/subjects/{SUBJECT}/health", host=host)
    sla = encode("GET", f"/v1/subjects/{SUBJECT}/sla", host=host)
    handoffs = [_post("/v1/handoff", _handoff(number), host) for number in range(SESSIONS)]
    changes = [
        request for number in range(SESSIONS) for request in (_post("/v1/resolutions", _ended(number), host), health)
    ]
    seed = _seed(texts, host)
    return [
        _repeated("health, 500 sessions", [health], amount(2000), seed=seed),
        _repeated("service levels, 500 sessions", [sla], amount(1000)),
        _repeated("handoff, 500 sessions", handoffs, amount(1000)),
        _repeated("resolution, then health anew", changes, amount(600), unit="changes and reads"),
    ]


def _repeated(
    name: str, requests: Sequence[bytes], amount: int, *, seed: Sequence[bytes] = (), unit: str = "requests"
) -> Scenario:
    endless = itertools.cycle(requests)
    warm_up, probes, measured = (list(itertools.islice(endless, size)) for size in (16, PROBES, amount))
    return Scenario(name, measured, probes, warm_up, seed, unit=unit, connections=CONNECTIONS)


def _seed(texts: Sequence[str], host: str) -> list[bytes]:
    words = itertools.cycle(texts)
    episodes = [
        {
            "subject_id": SUBJECT,
            "session_id": f"session-{session}",
            "source": "agent" if position % 2 else "user",
            "type": "message",
            "payload": {"messages": [{"role": "assistant" if position % 2 else "user", "content": next(words)}]},
            "occurred_at": (_START + timedelta(hours=20 * session, minutes=4 * position)).isoformat(),
        }
        for session in range(SESSIONS)
        for position in range(EPISODES_PER_SESSION)
    ]
    batches = [episodes[start : start + 100] for start in range(0, len(episodes), 100)]
    return [
        *(_post("/v1/episodes/batch", {"episodes": batch}, host) for batch in batches),
        *(_post("/v1/resolutions", _ended(number), host) for number in range(SESSIONS)),
    ]


def _ended(number: int) -> dict[str, object]:
    return {
        "subject_id": SUBJECT,
        "session_id": f"session-{number}",
        "status": _STATUSES[number % len(_STATUSES)],
        "resolution_summary": f"Case {number} was answered",
    }


def _handoff(number: int) -> dict[str, object]:
    return {"subject_id": SUBJECT, "session_id": f"session-{number}", "max_tokens": HANDOFF_TOKENS}


def _post(path: str, body: object, host: str) -> bytes:
    return encode("POST", path, msgspec.json.encode(body), host=host)
