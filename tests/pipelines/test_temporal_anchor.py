"""When the thing an episode tells of was so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.temporal_anchor import episode_anchor, parse_when

CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OCCURRED = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
MAY_8 = datetime(2023, 5, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1:56 pm on 8 May, 2023", MAY_8.replace(hour=13, minute=56)),
        ("12:05 am on 8 May, 2023", MAY_8.replace(hour=0, minute=5)),
        ("12:05 PM on 8 May, 2023", MAY_8.replace(hour=12, minute=5)),
        ("8 May 2023", MAY_8),
        ("8th of May, 2023", MAY_8),
        ("May 8, 2023", MAY_8),
        ("May 8th 2023 at 13:56", MAY_8.replace(hour=13, minute=56)),
        ("8 Sept. 2023, 9 a.m.", datetime(2023, 9, 8, 9, tzinfo=UTC)),
        ("Mon, 08 May 2023 13:56:07 +0200", MAY_8.replace(hour=11, minute=56, second=7)),
        ("2023-05-08", MAY_8),
        ("2023-05-08T13:56:00Z", MAY_8.replace(hour=13, minute=56)),
        ("2023-05-08T13:56:00.123456789+02:00", MAY_8.replace(hour=11, minute=56, microsecond=123456)),
        ("2023-05-08 13:56", MAY_8.replace(hour=13, minute=56)),
        ("2023/05/08 13:56", MAY_8.replace(hour=13, minute=56)),
        ("20230508T135600Z", MAY_8.replace(hour=13, minute=56)),
        ("13/05/2023", datetime(2023, 5, 13, tzinfo=UTC)),
        ("05/13/2023", datetime(2023, 5, 13, tzinfo=UTC)),
        (1683504000, MAY_8),
        (1683504000.5, MAY_8 + timedelta(seconds=0.5)),
        (1683504000000, MAY_8),
        ("1683504000", MAY_8),
        (" 8 May 2023 ", MAY_8),
    ],
)
def test_a_moment_is_read_as_clients_write_it(text: object, moment: datetime) -> None:
    assert parse_when(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "soon",
            "yesterday at 5",
            "May 2023",
            "8 May",
            "05/08/2023",
            "31 February 2023",
            "2023-13-01",
            "25:00 on 8 May, 2023",
        ),
        *("13:56 pm on 8 May, 2023", "8 May 2023 10:00 +99:99", "8 May 2023" * 20, "999999999999999999"),
        *(None, True, 5, -1, 10**400, float("nan"), float("inf"), [], {}, b"2023-05-08"),
    ],
)
def test_what_does_not_clearly_name_a_moment_is_none(text: object) -> None:
    assert parse_when(text) is None


def test_a_moment_in_another_zone_comes_out_in_utc() -> None:
    local = datetime(2023, 5, 8, 13, 0, tzinfo=timezone(timedelta(hours=2)))
    found = parse_when(local)
    assert found is not None
    assert (found, found.tzinfo) == (MAY_8.replace(hour=11), UTC)


@given(st.one_of(st.text(max_size=90), st.integers(), st.floats()))
def test_nothing_that_clients_send_raises(value: object) -> None:
    found = parse_when(value)
    assert found is None or found.tzinfo is UTC


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(-14, 14))
def test_iso_text_comes_back(moment: datetime, hours: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert parse_when(aware.isoformat()) == aware


def test_the_events_own_time_is_asked_first_and_ingestion_last() -> None:
    message = {"messages": [{"role": "user", "content": "hi", "timestamp": "2026-01-05T00:00:00Z"}]}
    everything = {"event_time": "1:56 pm on 8 May, 2023", **message}
    assert episode_anchor(everything, occurred_at=OCCURRED, created_at=CREATED) == MAY_8.replace(hour=13, minute=56)
    assert episode_anchor(message, occurred_at=OCCURRED, created_at=CREATED) == OCCURRED
    assert episode_anchor(message, occurred_at=None, created_at=CREATED) == datetime(2026, 1, 5, tzinfo=UTC)
    assert episode_anchor({}, occurred_at=None, created_at=CREATED) == CREATED


def test_an_occurred_at_that_is_only_the_default_does_not_hide_the_messages_time() -> None:
    message = {"messages": [{"content": "hi", "timestamp": "2026-01-05T00:00:00Z"}]}
    assert episode_anchor(message, occurred_at=CREATED, created_at=CREATED) == datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "payload",
    [
        {"event_time": "soon"},
        {"messages": []},
        {"messages": ["hi"]},
        {"messages": "hi"},
        {"messages": [{"timestamp": {}}]},
    ],
)
def test_a_time_that_cannot_be_read_is_passed_over(payload: dict[str, object]) -> None:
    assert episode_anchor(payload, occurred_at=OCCURRED, created_at=CREATED) == OCCURRED
