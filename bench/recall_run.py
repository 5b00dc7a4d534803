"""Drive a running server: ingest conversations, ask their questions, judge what is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.conversation import UNANSWERABLE, Conversation, Question
from bench.evidence import judge, says_nothing_relates, without_task
from bench.ingestion import SHAPES
from bench.recall_results import Delivery, Emptiness, QuestionResult, Run
from bench.report import mean, progress
from cli.api_client import ApiClient

BUDGETS = (512, 1024, 2048, 4096)
#: The budget at which honest emptiness is measured.
EMPTINESS_BUDGET = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """What to ask, and whether what an earlier run ingested is used again."""

    dataset: str
    budgets: tuple[int, ...] = BUDGETS
    reuse: bool = False
    emptiness: bool = False


def run(client: ApiClient, conversations: Sequence[Conversation], shape: str, options: Options) -> Run:
    """Ingest the conversations in one shape, each as a subject of its own, and ask every question."""
    subjects = {conversation.name: f"recall-{shape}-{conversation.name}" for conversation in conversations}
    episodes = memories = 0
    if not options.reuse:
        for conversation in progress(conversations, label=f"Ingest and compile ({shape})"):
            subject_id = subjects[conversation.name]
            client.delete_subject(subject_id)
            episodes += client.add_episodes(SHAPES[shape](conversation, subject_id))
            memories += len(client.compile(subject_id))
    asked = [(conversation, question) for conversation in conversations for question in conversation.answerable]
    results = [
        _ask(client, subjects[conversation.name], conversation, question, options.budgets)
        for conversation, question in progress(asked, label=f"Ask ({shape})")
    ]
    emptiness = _measure_emptiness(client, conversations, subjects) if options.emptiness else None
    return Run(
        shape=shape,
        dataset=options.dataset,
        turns=sum(len(conversation.turns) for conversation in conversations),
        episodes=episodes,
        memories=memories,
        questions=results,
        emptiness=emptiness,
    )


def _ask(
    client: ApiClient,
    subject_id: str,
    conversation: Conversation,
    question: Question,
    budgets: Sequence[int],
) -> QuestionResult:
    deliveries = []
    for budget in sorted(budgets):
        answer = client.context(subject_id, question.text, max_tokens=budget)
        delivered = without_task(answer.body["assembled_context"], question.text)
        judgement = judge(conversation, question, delivered=delivered)
        deliveries.append(
            Delivery(
                budget=budget,
                recall=judgement.recall,
                missed=list(judgement.missed),
                precision=judgement.precision,
                tokens=answer.body["token_estimate"],
                milliseconds=answer.milliseconds,
            )
        )
    return QuestionResult(
        conversation=conversation.name,
        question=question.text,
        category=question.category,
        evidence=list(question.evidence),
        deliveries=deliveries,
    )


def _measure_emptiness(client: ApiClient, conversations: Sequence[Conversation], subjects: dict[str, str]) -> Emptiness:
    """Ask each question of its own subject and of the next conversation's."""
    right: list[tuple[bool, int]] = []
    wrong: list[tuple[bool, int]] = []
    unanswerable: list[tuple[bool, int]] = []
    strangers = [*conversations[1:], conversations[0]]
    pairs = [
        (question, own, stranger)
        for own, stranger in zip(conversations, strangers, strict=True)
        for question in own.questions
        if question.evidence
    ]
    for question, own, stranger in progress(pairs, label="Ask the wrong subject"):
        answer = _emptiness_of(client, subjects[own.name], question.text)
        (unanswerable if question.category == UNANSWERABLE else right).append(answer)
        if question.category != UNANSWERABLE and stranger is not own:
            wrong.append(_emptiness_of(client, subjects[stranger.name], question.text))
    return Emptiness(
        questions=len(right),
        right_subject=mean([said for said, _ in right]),
        wrong_subject=mean([said for said, _ in wrong]),
        unanswerable=mean([said for said, _ in unanswerable]),
        right_tokens=mean([tokens for _, tokens in right]),
        wrong_tokens=mean([tokens for _, tokens in wrong]),
    )


def _emptiness_of(client: ApiClient, subject_id: str, task: str) -> tuple[bool, int]:
    bundle = client.context(subject_id, task, max_tokens=EMPTINESS_BUDGET).body
    return says_nothing_relates(without_task(bundle["assembled_context"], task)), bundle["token_estimate"]
