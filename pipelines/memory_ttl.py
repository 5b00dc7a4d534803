"""How long memories of a kind are valid: the setting, and stamping it on drafts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from pipelines.compilation import DraftMemory

#: Days. A century: more is a slip of the keyboard, and dates beyond year 9999 cannot be stored.
MAX_TTL_DAYS = 36_500

_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


def parse_kind_ttl(text: str) -> dict[str, int]:
    """Read the setting: a JSON object of memory kind to whole days. Empty means that nothing expires.

    Raises:
        ValueError: It is not such an object; the message names the faulty kind.
    """
    if not text.strip():
        return {}
    try:
        ttl_days = msgspec.json.decode(text)
    except msgspec.DecodeError as ex:
        raise ValueError(f'not JSON ({ex}); expected for example {{"episode_summary": 90}}') from ex
    if not isinstance(ttl_days, dict):
        raise ValueError('must be a JSON object of kind to days, for example {"episode_summary": 90}')
    for kind, days in ttl_days.items():
        if not kind:
            raise ValueError("a kind must not be empty")
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_TTL_DAYS:
            raise ValueError(f"{kind}: days must be a whole number from 1 to {MAX_TTL_DAYS}, not {days!r}")
    return ttl_days


def stamp(drafts: Iterable[DraftMemory], kind_ttl_days: Mapping[str, int]) -> None:
    """Set `valid_to` of the drafts whose kind expires. An end that a draft already has is kept if it is earlier."""
    if not kind_ttl_days:
        return
    for draft in drafts:
        days = kind_ttl_days.get(draft.kind)
        if days is None:
            continue
        end = _add_days(draft.valid_from, days)
        draft.valid_to = end if draft.valid_to is None else min(end, draft.valid_to)


def _add_days(start: datetime, days: int) -> datetime:
    try:
        return start + timedelta(days=days)
    except OverflowError:
        return _END_OF_TIME
