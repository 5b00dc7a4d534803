"""What an answer means for the delivery: done, try again, or give up. Pure rules."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

#: 4xx answers that say "not now" rather than "never" (contract: core §14).
TRANSIENT_4XX = frozenset({408, 409, 425, 429})

#: Redirects that say "never here again". They are not followed, so only another address will help.
PERMANENT_REDIRECTS = frozenset({301, 308})

#: Answers whose Retry-After is about the receiver as a whole and not about this delivery.
OVERLOADED = frozenset({429, 503})

#: Longest time a receiver may ask to be left alone; what is longer counts as this.
MOST_RETRY_AFTER = timedelta(hours=1)


class Verdict(enum.Enum):
    """What becomes of a delivery after an attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"
    #: Refused, and nothing else is wanted there either.
    GONE = "gone"


def judge(status: int) -> Verdict:
    """What a status means."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == 410:
        return Verdict.GONE
    if status in PERMANENT_REDIRECTS or (400 <= status < 500 and status not in TRANSIENT_4XX):
        return Verdict.REFUSED
    return Verdict.RETRY


def retry_after(value: str | None, now: datetime) -> timedelta:
    """The time a Retry-After header asks for, in seconds or as a date (RFC 9110 §10.2.3), at most `MOST_RETRY_AFTER`.

    Zero when there is none, when it lies in the past and when it cannot be read.
    """
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        asked = MOST_RETRY_AFTER if len(value) > 9 else timedelta(seconds=int(value))
    else:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return timedelta(0)
        asked = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(max(asked, timedelta(0)), MOST_RETRY_AFTER)
