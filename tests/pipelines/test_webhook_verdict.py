"""What an answer means (contract: core §14; ours where it is silent)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.webhook_verdict import MOST_RETRY_AFTER, Verdict, judge, retry_after

NOW = datetime(2026, 3, 14, 9, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_delivered(status: int) -> None:
    assert judge(status) is Verdict.DELIVERED


@pytest.mark.parametrize("status", [103, 302, 303, 304, 307, 408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_tried_again(status: int) -> None:
    assert judge(status) is Verdict.RETRY


@pytest.mark.parametrize("status", [301, 308, 400, 401, 403, 404, 405, 413, 415, 422, 451, 499])
def test_refused(status: int) -> None:
    assert judge(status) is Verdict.REFUSED


def test_gone() -> None:
    assert judge(410) is Verdict.GONE


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("٣", 0),
        ("Sat, 14 Mar 2026 09:01:30 GMT", 90),
        ("Saturday, 14-Mar-26 09:01:30 GMT", 90),
        ("Sat, 14 Mar 2026 10:01:30 +0100", 90),
        ("Sat, 14 Mar 2026 09:01:30", 90),
        ("Sat, 14 Mar 2026 08:00:00 GMT", 0),
        ("Sat, 14 Mar 2099 08:00:00 GMT", 3600),
        ("7200", 3600),
        ("9" * 400, 3600),
        ("Sat, 14 Mar 2026 09:00:00 +99999999999999", 0),
        ("Sat, 99999999999999999999 Mar 2026 09:00:00", 0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date_and_never_too_long(value: str | None, seconds: int) -> None:
    assert retry_after(value, NOW) == timedelta(seconds=seconds)


@given(st.text(max_size=40))
def test_any_retry_after_is_a_time_between_nothing_and_the_most(value: str) -> None:
    assert timedelta(0) <= retry_after(value, NOW) <= MOST_RETRY_AFTER
