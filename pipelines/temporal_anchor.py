"""When the thing an episode tells of was so: the moment its memories become valid.

The order is `payload.event_time`, the episode's `occurred_at`, the first message's own time, and the time of
ingestion. A fact inside a long episode uses its own message's time instead, when that has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

#: Characters. No date is longer, and nothing longer is searched for one.
MAX_DATE_CHARS = 80

#: Where messages of real clients keep their time, the contract's name first.
MESSAGE_TIME_KEYS = ("timestamp", "at", "time", "ts", "created_at", "occurred_at", "date")

#: Seconds: 1973 to 5138. Smaller numbers are not times, larger ones are milliseconds.
_EPOCH_SECONDS = (1e8, 1e11)

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul"),
            *("august aug", "september sep sept", "october oct", "november nov", "december dec"),
        ),
        start=1,
    )
    for name in names.split()
}

_DAY_FIRST = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)?[ -](?:of )?([a-z]{3,9})\.?,?[ -](\d{4})\b")
_MONTH_FIRST = re.compile(r"\b([a-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})\b")
_YEAR_FIRST = re.compile(r"\b(\d{4})[/.-](\d{1,2})[/.-](\d{1,2})\b")
_SLASHES = re.compile(r"\b(\d{1,2})[/.](\d{1,2})[/.](\d{4})\b")
_CLOCK = re.compile(r"\b(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?: ?([ap])\.?m\b)?")
_HOUR = re.compile(r"\b(\d{1,2}) ?([ap])\.?m\b")
_OFFSET = re.compile(r"(?:\d|\bgmt|\butc) ?([+-])(\d{2}):?(\d{2})\b")


def parse_when(value: object) -> datetime | None:
    """Read a moment as clients write it: ISO 8601, seconds or milliseconds since 1970, or words.

    Words are such as "1:56 pm on 8 May, 2023", "May 8, 2023 at 13:56", "Mon, 08 May 2023 13:56:00 +0200". A time
    without a zone is taken as UTC. "05/08/2023" may be May or August, so it is no time, unless one part is above 12.

    Returns:
        The moment in UTC, or None if the value does not clearly name one.
    """
    try:
        if isinstance(value, str):
            return _from_text(value)
        if isinstance(value, datetime):
            return _in_utc(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _from_number(value)
    except (ValueError, OverflowError):
        return None
    return None


def message_time(message: Mapping[str, Any]) -> datetime | None:
    """When a message was said by its own account, under whichever of the usual keys."""
    # PERF: most messages have none of the keys, and every message of every episode is asked.
    if message.keys().isdisjoint(MESSAGE_TIME_KEYS):
        return None
    return next((when for key in MESSAGE_TIME_KEYS if (when := parse_when(message.get(key)))), None)


def episode_anchor(payload: Mapping[str, Any], *, occurred_at: datetime | None, created_at: datetime) -> datetime:
    """Tell when an episode's memories become valid.

    An `occurred_at` equal to `created_at` is the default of a client that sent none, so the first message's own time
    is asked before it.
    """
    event_time = parse_when(payload.get("event_time"))
    if event_time is not None:
        return event_time
    if occurred_at is not None and occurred_at != created_at:
        return _in_utc(occurred_at)
    return _first_message_time(payload) or _in_utc(created_at)


def _first_message_time(payload: Mapping[str, Any]) -> datetime | None:
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        return None
    return message_time(messages[0])


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _from_number(number: float) -> datetime | None:
    low, high = _EPOCH_SECONDS
    if low <= number < high:
        return datetime.fromtimestamp(number, UTC)
    if high <= number < high * 1000:
        return datetime.fromtimestamp(number / 1000, UTC)
    return None


def _from_text(text: str) -> datetime | None:
    text = text.strip()
    if not text or len(text) > MAX_DATE_CHARS:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text.split(".")[0]) >= 9:
        return _from_number(float(text))
    try:
        return _in_utc(datetime.fromisoformat(text))
    except ValueError:
        return _from_words(" ".join(text.lower().split()))


def _from_words(text: str) -> datetime | None:
    date = _find_date(text)
    if date is None:
        return None
    hour, minute, second = _find_clock(text)
    moment = datetime(*date, hour, minute, second, tzinfo=UTC)
    offset = _OFFSET.search(text)
    if offset is None:
        return moment
    sign, hours, minutes = offset.groups()
    return datetime.fromisoformat(moment.replace(tzinfo=None).isoformat() + f"{sign}{hours}:{minutes}").astimezone(UTC)


def _find_date(text: str) -> tuple[int, int, int] | None:
    if (found := _DAY_FIRST.search(text)) and (month := _MONTHS.get(found[2])):
        return int(found[3]), month, int(found[1])
    if (found := _MONTH_FIRST.search(text)) and (month := _MONTHS.get(found[1])):
        return int(found[3]), month, int(found[2])
    if found := _YEAR_FIRST.search(text):
        return int(found[1]), int(found[2]), int(found[3])
    if found := _SLASHES.search(text):
        first, second, year = int(found[1]), int(found[2]), int(found[3])
        if first > 12 >= second:
            return year, second, first
        if second > 12 >= first:
            return year, first, second
    return None


def _find_clock(text: str) -> tuple[int, int, int]:
    if found := _CLOCK.search(text):
        return _hour(int(found[1]), found[4]), int(found[2]), int(found[3] or 0)
    if found := _HOUR.search(text):
        return _hour(int(found[1]), found[2]), 0, 0
    return 0, 0, 0


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError("an hour of a half day is from 1 to 12")
    return hour % 12 + (12 if half == "p" else 0)
