"""What the load benchmark asks of a server. Each scenario is a list of encoded requests, ready before the clock runs.

The texts are those of `bench/conversations`, two turns to an episode, told again for every subject; the questions
asked are the ones that belong to them. A new scenario is a function here and a line in `all_scenarios`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count, islice
from urllib.parse import urlencode

import msgspec

from bench.conversation import Conversation
from bench.ingestion import SOURCE
from bench.scenario import PROBES, Scenario
from bench.support import support_scenarios
from bench.wire import encode

SEEDED_SUBJECTS = 50
EPISODES_PER_SUBJECT = 40
BATCH = 100
CONTEXT_TOKENS = 1000

Episode = dict[str, object]


class Workload:
    """Builds requests. The same seed gives the same requests."""

    def __init__(
        self,
        conversations: Sequence[Conversation],
        *,
        host: str,
        seed: int = 7,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._headers = headers
        self._random = random.Random(seed)
        self._conversations = conversations
        self._pairs = [_message_pairs(conversation) for conversation in conversations]

    def seed(self) -> list[bytes]:
        """Batches that store 50 subjects of 40 episodes each."""
        return [self.batch(f"seed-{n}", n, EPISODES_PER_SUBJECT) for n in range(SEEDED_SUBJECTS)]

    def compile_seed(self) -> list[bytes]:
        return [self._post("/v1/memories/compile", {"subject_id": f"seed-{n}"}) for n in range(SEEDED_SUBJECTS)]

    def all_scenarios(self, *, scale: float) -> list[Scenario]:
        """Every scenario, with `scale` times the usual number of requests."""
        amount = partial(_scaled, scale=scale)
        return [
            self._ingest_single(amount(6000)),
            self._ingest_batch(amount(200)),
            self._compile(amount(200)),
            self._reads("context, 1,000 tokens", self.context, amount(4000)),
            self._reads("context with a receipt", partial(self.context, emit_receipt=True), amount(4000)),
            self._reads("search, semantic", partial(self.search, semantic=True), amount(4000)),
            self._reads("search, text", partial(self.search, semantic=False), amount(4000)),
            self._reads("timeline", self.timeline, amount(3000)),
            *support_scenarios(self._texts(), host=self._host, amount=amount),
        ]

    def _ingest_single(self, amount: int) -> Scenario:
        subjects = count()
        make = (self.single(f"single-{n % 200}", n) for n in subjects)
        warm_up, probes, requests = (list(islice(make, size)) for size in (64, PROBES, amount))
        return Scenario("ingest, one episode", requests, probes, warm_up, unit="episodes")

    def _ingest_batch(self, amount: int) -> Scenario:
        make = (self.batch(f"batch-{n}", n, BATCH) for n in count())
        warm_up, probes, requests = (list(islice(make, size)) for size in (4, PROBES, amount))
        return Scenario("ingest, batch of 100", requests, probes, warm_up, unit="episodes", units=BATCH)

    def _compile(self, amount: int) -> Scenario:
        total = PROBES + 16 + amount
        seed = [self.batch(f"compile-{n}", n, EPISODES_PER_SUBJECT) for n in range(total)]
        made = [self._post("/v1/memories/compile", {"subject_id": f"compile-{n}"}) for n in range(total)]
        return Scenario(
            f"compile {EPISODES_PER_SUBJECT} episodes",
            requests=made[PROBES + 16 :],
            probes=made[:PROBES],
            warm_up=made[PROBES : PROBES + 16],
            seed=seed,
            unit="episodes",
            units=EPISODES_PER_SUBJECT,
        )

    def _reads(self, name: str, make: Callable[[], bytes], amount: int) -> Scenario:
        warm_up, probes, requests = ([make() for _ in range(size)] for size in (64, PROBES, amount))
        return Scenario(name, requests, probes, warm_up)

    def single(self, subject_id: str, number: int) -> bytes:
        return self._post("/v1/episodes", self._episode(subject_id, number, number))

    def batch(self, subject_id: str, kind: int, size: int) -> bytes:
        """A batch of episodes of one subject; subjects of the same `kind` modulo the conversations tell the same."""
        episodes = [self._episode(subject_id, kind, position) for position in range(size)]
        return self._post("/v1/episodes/batch", {"episodes": episodes})

    def context(self, **asked: object) -> bytes:
        subject_id, question = self._question()
        body = {"subject_id": subject_id, "task": question, "max_tokens": CONTEXT_TOKENS, **asked}
        return self._post("/v1/context", body)

    def search(self, *, semantic: bool) -> bytes:
        """Semantic: by a question. Text: by a word of one, as text search means all of what is typed."""
        subject_id, question = self._question()
        word = max(question.strip("?").split(), key=len)
        query = {"subject_id": subject_id, "q": question if semantic else word, "limit": 20}
        return self._get("/v1/memories/search", query | ({"semantic": "true"} if semantic else {}))

    def timeline(self) -> bytes:
        return self._get("/v1/timeline", {"subject_id": self._seeded()[0], "limit": 100})

    def _texts(self) -> list[str]:
        return [turn.text for told in self._conversations for session in told.sessions for turn in session.turns]

    def _seeded(self) -> tuple[str, int]:
        number = self._random.randrange(SEEDED_SUBJECTS)
        return f"seed-{number}", number % len(self._conversations)

    def _question(self) -> tuple[str, str]:
        subject_id, kind = self._seeded()
        return subject_id, self._random.choice(self._conversations[kind].questions).text

    def _episode(self, subject_id: str, kind: int, position: int) -> Episode:
        pairs = self._pairs[kind % len(self._pairs)]
        session_id, messages, occurred_at = pairs[position % len(pairs)]
        return {
            "subject_id": subject_id,
            "session_id": session_id,
            "source": SOURCE,
            "type": "conversation",
            "payload": {"messages": messages},
            "occurred_at": occurred_at,
        }

    def _post(self, path: str, body: object) -> bytes:
        return encode("POST", path, msgspec.json.encode(body), host=self._host, headers=self._headers)

    def _get(self, path: str, query: dict[str, object]) -> bytes:
        return encode("GET", f"{path}?{urlencode(query)}", host=self._host, headers=self._headers)


def _scaled(usual: int, *, scale: float) -> int:
    return max(1, round(usual * scale))


def _message_pairs(conversation: Conversation) -> list[tuple[str, list[dict[str, str]], str]]:
    """Every two consecutive turns of a session: the session, the messages, and when it began."""
    return [
        (
            session.id,
            [
                {"role": turn.role, "name": turn.speaker, "content": turn.text}
                for turn in session.turns[start : start + 2]
            ],
            session.started_at.isoformat(),
        )
        for session in conversation.sessions
        for start in range(0, len(session.turns) - 1, 2)
    ]
