"""Signs of life as files."""

from __future__ import annotations

import os
import time
from pathlib import Path

from storage import pulses


def test_a_beat_is_young_and_its_age_grows_from_it(tmp_path: Path) -> None:
    pulses.beat(tmp_path, "worker")
    (age,) = pulses.ages(tmp_path, "worker").values()
    assert age < 60
    past = time.time() - 500
    os.utime(pulses.pulse_file(tmp_path, "worker"), (past, past))
    (age,) = pulses.ages(tmp_path, "worker").values()
    assert age >= 500
    pulses.beat(tmp_path, "worker")
    (age,) = pulses.ages(tmp_path, "worker").values()
    assert age < 60


def test_parts_do_not_see_each_other(tmp_path: Path) -> None:
    pulses.beat(tmp_path, "worker")
    assert pulses.ages(tmp_path, "scheduler") == {}


def test_who_leaves_takes_its_file_along(tmp_path: Path) -> None:
    pulses.beat(tmp_path, "worker")
    pulses.end(tmp_path, "worker")
    assert pulses.ages(tmp_path, "worker") == {}
    pulses.end(tmp_path, "worker")


def test_what_a_killed_process_left_is_forgotten_at_the_next_start(tmp_path: Path) -> None:
    """A container's folder outlives its processes: a file nobody touches any more would fail every probe for ever."""
    pulses.beat(tmp_path, "worker")
    pulses.pulse_file(tmp_path, "worker").rename(tmp_path / "pulses" / "worker-1")
    pulses.beat(tmp_path, "scheduler")
    pulses.forget_all(tmp_path, "worker")
    assert pulses.ages(tmp_path, "worker") == {}
    assert len(pulses.ages(tmp_path, "scheduler")) == 1


def test_a_folder_that_cannot_be_written_stops_no_work(tmp_path: Path) -> None:
    (tmp_path / "pulses").write_text("a file where the folder should be")
    pulses.beat(tmp_path, "worker")
    assert pulses.ages(tmp_path, "worker") == {}
