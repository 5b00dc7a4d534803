"""How long memories of a kind are valid."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipelines.memory_ttl import parse_kind_ttl, stamp
from tests.pipelines.drafts import day, draft


def test_the_setting_is_an_object_of_kind_to_days() -> None:
    assert parse_kind_ttl('{"episode_summary": 90, "profile_fact": 365}') == {
        "episode_summary": 90,
        "profile_fact": 365,
    }


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_without_a_setting_nothing_expires(text: str) -> None:
    assert parse_kind_ttl(text) == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("90", "object"),
        ("{episode_summary: 90}", "not JSON"),
        ('{"episode_summary": 0}', "episode_summary"),
        ('{"episode_summary": -1}', "episode_summary"),
        ('{"episode_summary": 1.5}', "episode_summary"),
        ('{"episode_summary": true}', "episode_summary"),
        ('{"episode_summary": "90"}', "episode_summary"),
        ('{"episode_summary": 1000000}', "36500"),
        ('{"": 5}', "empty"),
    ],
)
def test_a_faulty_setting_is_refused_by_name(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_kind_ttl(text)


def test_a_draft_ends_so_many_days_after_it_became_valid() -> None:
    summary, fact = draft("Asked about a refund", 3, kind="episode_summary"), draft("I use Postgres", 3)
    stamp([summary, fact], {"episode_summary": 30})
    assert summary.valid_to == day(33)
    assert fact.valid_to is None


def test_an_earlier_end_is_kept() -> None:
    fact = draft("I use Postgres", 3, ttl_days=5)
    stamp([fact], {"profile_fact": 30})
    assert fact.valid_to == day(8)


def test_an_end_beyond_all_dates_is_the_last_day() -> None:
    fact = draft("I use Postgres")
    fact.valid_from = datetime(9999, 12, 1, tzinfo=UTC)
    stamp([fact], {"profile_fact": 365})
    assert fact.valid_to == datetime(9999, 12, 31, tzinfo=UTC)
