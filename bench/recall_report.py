"""Print recall runs, and the difference between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.conversation import CATEGORIES
from bench.recall_results import Delivery, Emptiness, QuestionResult, Report, Run
from bench.report import mean, percentile
from cli.text_layout import table

#: Questions listed by name for each budget of a comparison.
LISTED = 5


def render(run: Run) -> str:
    """The tables of one run: what was found, per category, and what it cost."""
    questions = run.questions
    conversations = len({result.conversation for result in questions})
    title = (
        f"{run.dataset}, one episode per {run.shape}: {conversations} conversations, {run.turns:,} turns, "
        f"{len(questions)} questions with evidence"
    )
    parts = [
        title,
        _per_category(run, "evidence recall", lambda delivery: delivery.recall),
        _per_category(run, "all-evidence hit rate", lambda delivery: float(delivery.complete)),
        _costs(run),
    ]
    if run.emptiness:
        parts.append(_emptiness(run.emptiness))
    return "\n\n".join(parts)


def _per_category(run: Run, name: str, score: Callable[[Delivery], float]) -> str:
    rows = [[f"all ({len(run.questions)})", *_scores(run.questions, run.budgets, score)]]
    for category in sorted({result.category for result in run.questions}):
        chosen = [result for result in run.questions if result.category == category]
        rows.append([f"{CATEGORIES[category]} ({len(chosen)})", *_scores(chosen, run.budgets, score)])
    return table([name, *(f"@{budget:,}" for budget in run.budgets)], rows)


def _scores(results: Sequence[QuestionResult], budgets: Sequence[int], score: Callable[[Delivery], float]) -> list[str]:
    return [f"{mean([score(result.at(budget)) for result in results]):.3f}" for budget in budgets]


def _costs(run: Run) -> str:
    answers = [[result.at(budget) for result in run.questions] for budget in run.budgets]
    rows = [
        [
            "precision (gold and neighbours)",
            *(f"{mean([d.precision for d in each]):.3f}" for each in answers),
        ],
        ["tokens used, mean", *(f"{mean([d.tokens for d in each]):,.0f}" for each in answers)],
        ["tokens used, largest", *(f"{max(d.tokens for d in each):,}" for each in answers)],
        ["p50 ms", *(f"{percentile([d.milliseconds for d in each], 0.5):.1f}" for each in answers)],
        ["p95 ms", *(f"{percentile([d.milliseconds for d in each], 0.95):.1f}" for each in answers)],
    ]
    return table(["delivered", *(f"@{budget:,}" for budget in run.budgets)], rows)


def _emptiness(emptiness: Emptiness) -> str:
    rows = [
        ["of the subject that knows", f"{emptiness.right_subject:.3f}", f"{emptiness.right_tokens:,.0f}"],
        ["of another subject", f"{emptiness.wrong_subject:.3f}", f"{emptiness.wrong_tokens:,.0f}"],
        ["unanswerable, of its own subject", f"{emptiness.unanswerable:.3f}", ""],
    ]
    return table([f"asked ({emptiness.questions} questions)", "says nothing relates", "tokens"], rows)


def render_comparison(before: Report, after: Report) -> str:
    """Wins and losses of `after` against `before`, for every shape and budget both have.

    Raises:
        ValueError: when the two reports share no question.
    """
    earlier = {(run.shape, q.conversation, q.question): q for run in before.runs for q in run.questions}
    pairs = [
        (run.shape, earlier[key], question)
        for run in after.runs
        for question in run.questions
        if (key := (run.shape, question.conversation, question.question)) in earlier
    ]
    if not pairs:
        raise ValueError("The two reports share no question: nothing to compare")
    shapes = dict.fromkeys(shape for shape, _, _ in pairs)
    return "\n\n".join(_compare_shape(shape, [(a, b) for found, a, b in pairs if found == shape]) for shape in shapes)


def _compare_shape(shape: str, pairs: list[tuple[QuestionResult, QuestionResult]]) -> str:
    budgets = sorted(
        {d.budget for a, _ in pairs for d in a.deliveries} & {d.budget for _, b in pairs for d in b.deliveries}
    )
    rows, listings = [], []
    for budget in budgets:
        changes = [(b.at(budget).recall - a.at(budget).recall, a, b) for a, b in pairs]
        wins = sorted((c for c in changes if c[0] > 0), key=lambda c: -c[0])
        losses = sorted((c for c in changes if c[0] < 0), key=lambda c: c[0])
        before, after = (mean([q.at(budget).recall for q in side]) for side in zip(*pairs, strict=True))
        rows.append(
            [
                f"@{budget:,}",
                f"{before:.3f}",
                f"{after:.3f}",
                f"{after - before:+.3f}",
                str(len(wins)),
                str(len(losses)),
            ]
        )
        listings += _listing(budget, "won", wins) + _listing(budget, "lost", losses)
    summary = table([f"one episode per {shape}", "A", "B", "change", "wins", "losses"], rows)
    return "\n".join([summary, *listings])


def _listing(budget: int, verb: str, changes: list[tuple[float, QuestionResult, QuestionResult]]) -> list[str]:
    if not changes:
        return []
    lines = ["", f"{verb} @{budget:,}"]
    for change, a, b in changes[:LISTED]:
        turns = set(a.at(budget).missed) ^ set(b.at(budget).missed)
        lines.append(f"  {change:+.2f}  {b.conversation}  {b.question}  [{' '.join(sorted(turns))}]")
    if len(changes) > LISTED:
        lines.append(f"  and {len(changes) - LISTED} more")
    return lines
