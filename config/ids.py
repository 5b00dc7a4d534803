"""Identifiers. Rows get UUIDv7 (RFC 9562 §5.7), so that primary keys grow at the right edge of their index; receipts
get ULIDs, as their contract says."""

from __future__ import annotations

import os
import secrets
import threading
import time
from datetime import datetime
from uuid import UUID

_lock = threading.Lock()
_last = 0
_COUNTER_BITS = 12
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def uuid7() -> UUID:
    """A time-ordered UUID; ids made by one process never go backwards.

    The 12 bits after the millisecond are a counter (RFC 9562 §6.2, method 1): when more than 4,096 ids are
    made within one millisecond, the timestamp runs ahead of the clock rather than repeat.
    """
    global _last
    with _lock:
        _last = max(time.time_ns() // 1_000_000 << _COUNTER_BITS, _last + 1)
        stamp = _last
    millis, counter = stamp >> _COUNTER_BITS, stamp & 0xFFF
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=millis << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | random_bits)


def ulid(moment: datetime) -> str:
    """A ULID: 48 bits of milliseconds, then 80 random ones, in Crockford's base 32; sorts by time as text."""
    return _base32(int(moment.timestamp() * 1000) << 80 | secrets.randbits(80))


def first_ulid(moment: datetime) -> str:
    """The smallest ULID of a moment's millisecond: a bound for ranges of time."""
    return _base32(max(0, int(moment.timestamp() * 1000)) << 80)


def _base32(number: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def request_id() -> str:
    """16 hexadecimal characters that name one request in logs and answers."""
    return secrets.token_hex(8)
