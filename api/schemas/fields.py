"""Fields that several schemas share, with their limits (contract: core §5.1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta

#: How operators name the tenant of requests without a tenant header, whose own name is empty.
DEFAULT_TENANT = "-"

#: Any character but controls and the two Unicode line separators: what an id may consist of. The end is written as
#: a lookahead because Python's `$` lets a final newline pass.
PRINTABLE = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]+(?![\\s\\S])"
_PRINTABLE_PROBLEM = {"problem": "must not contain control characters or line separators"}


class BadField(ValueError):
    """A value of the right type that breaks a rule; `inside` points from its field to the culprit."""

    def __init__(self, message: str, *, kind: str, inside: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.inside = inside


SubjectId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        pattern=PRINTABLE,
        description="Who or what this is about. Any printable characters; kept exactly as sent.",
        examples=["customer:42", "repo:acme/shop"],
        extra=_PRINTABLE_PROBLEM,
    ),
]

SessionId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        pattern=PRINTABLE,
        description="The conversation or ticket this belongs to.",
        examples=["ticket-1017"],
        extra=_PRINTABLE_PROBLEM,
    ),
]

JsonObject = Annotated[dict[str, Any], Meta(description="A JSON object; stored and returned as it was sent.")]


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; without a time zone it is taken to be UTC already.

    Raises:
        BadField: when the moment lies outside the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise BadField("must lie between the years 1 and 9999, in UTC", kind="out_of_range") from None


Moment = Annotated[
    datetime,
    Meta(
        description="ISO 8601; without a time zone it is taken to be UTC.",
        examples=["2026-03-14T09:26:53Z"],
        extra_json_schema={"format": "date-time"},
        extra={"check": as_utc},
    ),
]

CallerId = Annotated[str, Meta(max_length=256, description="Who asks; what the API key says counts more.")]
CallerType = Annotated[
    str, Meta(max_length=64, description="What kind of caller asks, for policies.", examples=["support_agent"])
]

#: Longest idempotency key, in characters.
MAX_KEY = 512


def metadata_key(metadata: dict[str, Any]) -> str | None:
    """The idempotency key that connectors put into `metadata`; nothing when absent, null or empty.

    Raises:
        BadField: when it is not a string or longer than `MAX_KEY`.
    """
    key = metadata.get("idempotency_key")
    if key is None or key == "":
        return None
    if not isinstance(key, str):
        raise BadField("expected a string", kind="wrong_type", inside=("idempotency_key",))
    if len(key) > MAX_KEY:
        raise BadField(f"expected a string of length <= {MAX_KEY}", kind="too_long", inside=("idempotency_key",))
    return key


Metadata = Annotated[
    dict[str, Any],
    Meta(
        description="Facts about the event. `idempotency_key` in here counts when the field of that name is empty.",
        extra_json_schema={
            "properties": {"idempotency_key": {"type": ["string", "null"], "maxLength": MAX_KEY}},
        },
        extra={"check": metadata_key},
    ),
]
