"""Dates and spans that a task names, absolute or relative, as windows over the time of passages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"),
    "december",
)
_SHORT = "jan feb mar apr jun jul aug sept sep oct nov dec".split()
_MONTH = "|".join((*_MONTHS, *_SHORT))
_MONTH_NUMBER = {name: index for index, name in enumerate(_MONTHS, start=1)} | {
    short: next(i for i, name in enumerate(_MONTHS, start=1) if name.startswith(short)) for short in _SHORT
}
_MONTH_DATE = re.compile(
    rf"\b(?:(?P<before>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? )?(?P<month>{_MONTH})\b\.?"
    r"(?: (?P<after>\d{1,2})(?:st|nd|rd|th)?\b)?(?:,? (?P<year>\d{4})\b)?",
    re.I,
)
_ISO = re.compile(r"\b(?P<year>(?:19|20)\d\d)-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?\b")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_MAY_IS_A_MONTH = re.compile(r"\b(?:in|of|during|by|since|until|last|this|next|early|late|mid) may\b", re.I)
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_RELATIVE = re.compile(
    rf"\b(?:(?P<day>yesterday|today|tonight|this morning)|(?P<which>last|this|past|previous) "
    rf"(?P<unit>week|weekend|month|year|{'|'.join(_DAYS)}|{_MONTH})|(?P<count>\d+|an?|one|two|three|four|five|six|seven"
    r"|eight|nine|ten|few|couple of) (?P<units>day|week|month|year)s? ago)\b",
    re.I,
)
_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_COUNTS |= {"nine": 9, "ten": 10, "few": 3, "couple of": 2}
_UNIT_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}

#: Weights of a window's parts: what is asked for, what is told soon after it, what merely lies near.
EXACT, SOON_AFTER, NEXT_MONTH, SAME_MONTH, SAME_YEAR = 1.0, 0.8, 0.5, 0.4, 0.3


class Window(NamedTuple):
    """From `start` up to, not including, `stop`; microseconds since 1970."""

    start: int
    stop: int
    weight: float


class DateNamed(NamedTuple):
    """A date as it was named; parts that were not are None. `window` is set for relative ones, which are resolved."""

    year: int | None
    month: int | None
    day: int | None
    window: tuple[datetime, datetime] | None = None

    def windows(self, years: range) -> Iterator[Window]:
        """Windows of this date; without a year, in each of `years`. What is told soon afterwards counts less."""
        if self.window is not None:
            yield _window(*self.window, EXACT)
            return
        for year in [self.year] if self.year else years:
            yield from _windows_in(year, self.month, self.day)


def dates_named(text: str, *, now: datetime) -> list[DateNamed]:
    """All dates a text names; a bare year only when nothing more exact is named."""
    found = list(_relative(text, now))
    taken = [span for span, _ in found]
    named = [date for _, date in found]
    for match in _ISO.finditer(text):
        if date := _checked(int(match["year"]), int(match["month"]), int(match["day"]) if match["day"] else None):
            named.append(date)
            taken.append(match.span())
    for match in _MONTH_DATE.finditer(text):
        if any(start <= match.start() < stop for start, stop in taken) or _is_auxiliary(match, text):
            continue
        day = match["before"] or match["after"]
        year = int(match["year"]) if match["year"] else None
        if date := _checked(year, _MONTH_NUMBER[match["month"].lower()], int(day) if day else None):
            named.append(date)
    return named or [DateNamed(int(year), None, None) for year in dict.fromkeys(_YEAR.findall(text))]


def _is_auxiliary(match: re.Match[str], text: str) -> bool:
    """ "May" and "mar" are words too, and "march" is one in lower case."""
    if match["before"] or match["after"] or match["year"]:
        return False
    month = match["month"]
    if month.lower() == "may":
        return not _MAY_IS_A_MONTH.search(text)
    return month.lower() in ("mar", "march", "sep", "jun", "dec", "jan") and month.islower()


def _checked(year: int | None, month: int, day: int | None) -> DateNamed | None:
    if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
        return None
    return DateNamed(year, month, day)


def _relative(text: str, now: datetime) -> Iterator[tuple[tuple[int, int], DateNamed]]:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for match in _RELATIVE.finditer(text):
        span = _span_of(match, today)
        if span is not None:
            yield match.span(), DateNamed(None, None, None, span)


def _span_of(match: re.Match[str], today: datetime) -> tuple[datetime, datetime] | None:
    day = timedelta(days=1)
    if match["day"]:
        start = today - day if match["day"].lower() == "yesterday" else today
        return start, start + day
    if match["units"]:
        length = _UNIT_DAYS[match["units"].lower()]
        count = match["count"].lower()
        back = (int(count) if count.isdigit() else _COUNTS[count]) * length
        if back > 365 * 200:
            return None
        middle = today - back * day
        slack = max(1, length // 2) if length > 1 else 0
        return middle - slack * day, middle + (slack + 1) * day
    return _named_span(match["which"].lower(), match["unit"].lower(), today)


def _named_span(which: str, unit: str, today: datetime) -> tuple[datetime, datetime] | None:
    day = timedelta(days=1)
    this = which == "this"
    if unit in ("week", "weekend"):
        monday = today - today.weekday() * day
        start = monday if this else monday - 7 * day
        return (start, start + 7 * day) if unit == "week" else (start + 4 * day, start + 9 * day)
    if unit == "month":
        first = today.replace(day=1)
        return (first, today + day) if this else ((first - day).replace(day=1), first)
    if unit == "year":
        first = today.replace(month=1, day=1)
        return (first, today + day) if this else (first.replace(year=first.year - 1), first)
    if unit in _DAYS:
        back = (today.weekday() - _DAYS.index(unit)) % 7 or (0 if this else 7)
        return today - back * day, today - (back - 1) * day
    month = _MONTH_NUMBER[unit]
    year = today.year if this or month < today.month else today.year - 1
    return datetime(year, month, 1, tzinfo=UTC), _month_after(year, month)


def _month_after(year: int, month: int) -> datetime:
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _windows_in(year: int, month: int | None, day: int | None) -> Iterator[Window]:
    if not 1970 <= year < 9000:
        return
    if month is None:
        yield _window(datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC), SAME_YEAR)
        return
    first, after = datetime(year, month, 1, tzinfo=UTC), _month_after(year, month)
    if day is None:
        yield _window(first, after, EXACT)
        yield _window(after, _month_after(after.year, after.month), NEXT_MONTH)
        return
    yield _window(first, after, SAME_MONTH)
    start = first + timedelta(days=day - 1)
    if start < after:
        yield _window(start, start + timedelta(days=8), SOON_AFTER)
        yield _window(start, start + timedelta(days=2), EXACT)


def _window(start: datetime, stop: datetime, weight: float) -> Window:
    return Window(int(start.timestamp() * 1e6), int(stop.timestamp() * 1e6), weight)
