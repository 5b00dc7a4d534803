"""What a recall run keeps: every answer to every question, as plain data that goes to and from JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one context at one budget delivered for one question.

    `missed` are the evidence turns that were not delivered; `tokens` is the server's own estimate.
    """

    budget: int
    recall: float
    missed: list[str]
    precision: float
    tokens: int
    milliseconds: float

    @property
    def complete(self) -> bool:
        return not self.missed


class QuestionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One question with its deliveries, one for each budget in ascending order."""

    conversation: str
    question: str
    category: int
    evidence: list[str]
    deliveries: list[Delivery]

    def at(self, budget: int) -> Delivery:
        return next(delivery for delivery in self.deliveries if delivery.budget == budget)


class Emptiness(msgspec.Struct, frozen=True, kw_only=True):
    """How honest the answers are when nothing stored relates.

    Shares of questions for which the context said so: asked of the subject that knows the answer (should be
    0), of another subject (should be 1), and unanswerable ones asked of their own subject; with the mean tokens
    delivered.
    """

    questions: int
    right_subject: float
    wrong_subject: float
    unanswerable: float
    right_tokens: float
    wrong_tokens: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All questions over all conversations, ingested in one shape."""

    shape: str
    dataset: str
    turns: int
    episodes: int
    memories: int
    questions: list[QuestionResult]
    emptiness: Emptiness | None = None

    @property
    def budgets(self) -> list[int]:
        return [delivery.budget for delivery in self.questions[0].deliveries]

    def over_budget(self) -> Iterator[tuple[QuestionResult, Delivery]]:
        """Answers that broke the promise that an estimate never exceeds the budget."""
        for result in self.questions:
            for delivery in result.deliveries:
                if delivery.tokens > delivery.budget:
                    yield result, delivery


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The file that `--json` writes and `--compare` reads."""

    runs: list[Run]


def save(report: Report, file: Path) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def load(file: Path) -> Report:
    """Read a saved report.

    Raises:
        msgspec.ValidationError: when the file is something else.
    """
    return msgspec.json.decode(file.read_bytes(), type=Report)
