"""The recall benchmark over a running server, and the comparison of two of its reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import recall, recall_results
from bench.conversation import load_file
from bench.ingestion import SHAPES
from bench.recall_results import Delivery, QuestionResult, Report, Run
from tests.fixtures.stack import RunningStack

OURS = Path(__file__).parents[2] / "bench" / "conversations"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two of our conversations with a few questions each, so that the run is short."""
    folder = tmp_path / "conversations"
    folder.mkdir()
    for name in ("ebike_orders", "home_internet"):
        document = json.loads((OURS / f"{name}.json").read_text(encoding="utf-8"))
        document["qa"] = [*document["qa"][:5], document["qa"][-1]]
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_a_run_judges_every_question_at_every_budget(
    running_stack: RunningStack, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    arguments = [running_stack.base_url, str(dataset), "--shape", "both", "--wrong-subject", "--json", str(file)]
    assert recall.main(arguments) == 0

    report = recall_results.load(file)
    assert [run.shape for run in report.runs] == ["turn", "session"]
    for run in report.runs:
        assert len(run.questions) == 10, "the unanswerable questions have no part in evidence scores"
        assert run.budgets == [512, 1024, 2048, 4096]
        assert not list(run.over_budget())
        assert run.emptiness is not None
    found = [question.at(4096).recall for question in report.runs[0].questions]
    assert sum(found) > len(found) / 3, "contexts of this size hold most of a conversation"

    printed = capsys.readouterr().out
    for expected in ("evidence recall", "all-evidence hit rate", "precision", "p95 ms", "says nothing relates"):
        assert expected in printed


def test_both_shapes_tell_the_same_turns() -> None:
    conversation = load_file(OURS / "vip_outages.json")
    told = {
        shape: [message["content"] for episode in make(conversation, "x") for message in episode["payload"]["messages"]]
        for shape, make in SHAPES.items()
    }
    assert told["turn"] == told["session"] == [turn.content for turn in conversation.turns.values()]


def test_episodes_of_a_session_are_dated_one_after_the_other() -> None:
    episodes = SHAPES["turn"](load_file(OURS / "vip_outages.json"), "x")
    dates = [episode["occurred_at"] for episode in episodes]
    assert dates == sorted(dates)
    assert len({episode["idempotency_key"] for episode in episodes}) == len(episodes)


def report_with(recall_of: dict[str, float]) -> Report:
    questions = [
        QuestionResult(
            conversation="c",
            question=question,
            category=4,
            evidence=["D1:1", "D1:2"],
            deliveries=[
                Delivery(
                    budget=512,
                    recall=share,
                    missed=["D1:1", "D1:2"][round(share * 2) :],
                    precision=0.5,
                    tokens=500,
                    milliseconds=3.0,
                )
            ],
        )
        for question, share in recall_of.items()
    ]
    return Report(runs=[Run(shape="turn", dataset="d", turns=2, episodes=2, memories=0, questions=questions)])


def test_a_comparison_names_wins_and_losses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "a.json", tmp_path / "b.json"
    recall_results.save(report_with({"Who?": 0.5, "When?": 1.0, "Why?": 1.0}), before)
    recall_results.save(report_with({"Who?": 1.0, "When?": 0.0, "Why?": 1.0}), after)

    assert recall.main(["--compare", str(before), str(after)]) == 0

    printed = capsys.readouterr().out
    assert "won @512\n  +0.50  c  Who?  [D1:2]" in printed
    assert "lost @512\n  -1.00  c  When?  [D1:1 D1:2]" in printed
    assert "Why?" not in printed


def test_an_answer_over_its_budget_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_with({"Who?": 1.0})
    promise = report.runs[0].questions[0].deliveries[0]
    broken = recall_results.Report(
        runs=[
            Run(
                shape="turn",
                dataset="d",
                turns=2,
                episodes=2,
                memories=0,
                questions=[
                    QuestionResult(
                        conversation="c",
                        question="Who?",
                        category=4,
                        evidence=["D1:1"],
                        deliveries=[
                            Delivery(
                                budget=512,
                                recall=1.0,
                                missed=[],
                                precision=1.0,
                                tokens=promise.budget + 1,
                                milliseconds=1.0,
                            )
                        ],
                    )
                ],
            )
        ]
    )
    assert recall.check_budgets(report) == 0
    assert recall.check_budgets(broken) == 1
    assert "513 tokens of 512" in capsys.readouterr().err


def test_an_unreachable_server_and_an_empty_folder_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recall.main(["http://127.0.0.1:1", str(OURS)]) == 2
    assert "No server answers" in capsys.readouterr().err
    assert recall.main(["http://127.0.0.1:1", str(tmp_path)]) == 2
    assert "No conversations" in capsys.readouterr().err
