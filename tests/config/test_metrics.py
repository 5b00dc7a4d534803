"""Processes that count together share a folder; nobody counts into, or removes, one that belongs to others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import metrics
from config.metrics import VARIABLE, disown_metrics, forget_metrics, share_metrics


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(metrics, "_made", [])
    yield
    forget_metrics()


def test_a_folder_of_our_own_is_made_and_removed() -> None:
    folder = share_metrics()
    assert os.environ[VARIABLE] == str(folder) and folder.is_dir()
    forget_metrics()
    assert not folder.exists()


def test_the_folder_of_whoever_started_us_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ended took the folder of its parent with it, and no other worker could start there any more."""
    parents = tmp_path / "statewave-metrics-parent"
    parents.mkdir()
    monkeypatch.setenv(VARIABLE, str(parents))
    assert share_metrics() != parents
    forget_metrics()
    assert parents.is_dir()


def test_a_process_that_does_not_share_does_not_count_there_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "statewave-metrics-parent"))
    disown_metrics()
    assert VARIABLE not in os.environ


def test_a_folder_that_an_operator_names_is_emptied_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "prometheus"
    named.mkdir()
    (named / "counter_7.db").write_text("of a process that ended long ago")
    monkeypatch.setenv(VARIABLE, str(named))
    disown_metrics()
    assert share_metrics() == named
    assert list(named.iterdir()) == []
    forget_metrics()
    assert named.is_dir()
