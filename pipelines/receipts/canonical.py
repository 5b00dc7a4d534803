"""The canonical form of a receipt (version 1): the one sequence of bytes that is hashed and signed.

JSON with the keys of every object sorted by code point, no white space, and everything but quotes, backslashes and
controls written as itself in UTF-8. Floats are the shortest digits that read back as the same number, with `.0` where
they are whole, as Python writes them (contract: governance §2.6).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec

Body = dict[str, Any]

SIGNATURE = "receipt_signature"

#: Keys that the API adds to a receipt when it is read; they are not part of it (contract: governance §2.2).
ADDED_ON_READING = ("status", "tombstoned_at")

#: Hash that the first receipt of a chain names as the one before it.
NOTHING_BEFORE = "0" * 64


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Written(str):
    """The canonical form of a member of a body, where it was written before."""

    __slots__ = ()


_encode_fast = msgspec.json.Encoder(order="sorted").encode

#: Floats that are written alike by everybody: without an exponent, and not as a row of zeros.
_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e15


def is_plain(number: float) -> bool:
    """Whether a float looks the same in the canonical form and in what `written` uses."""
    return number == 0 or _LEAST_PLAIN <= abs(number) <= _MOST_PLAIN


def written(value: Any) -> Written:
    """The canonical form of a value whose floats are plain (`is_plain`). PERF: in a thirtieth of the time.

    Raises:
        UnicodeEncodeError: for halves of surrogate pairs.
    """
    return Written(_encode_fast(value).decode())


def canonical_bytes(value: Any) -> bytes:
    """The canonical form of any JSON value.

    Raises:
        ValueError: for what JSON cannot say: NaN, infinities, halves of surrogate pairs.
    """
    return _encode(value).encode()


def members_of(body: Body) -> dict[str, str]:
    """The canonical form of each member of a body, `Written` ones as they are."""
    return {name: value if isinstance(value, Written) else _encode(value) for name, value in body.items()}


# PERF: the members of receipts have few names, and their order is that of the names.
_name = lru_cache(maxsize=256)(_encode)


def joined(members: Mapping[str, str]) -> bytes:
    """The canonical form of the body that has these members: `canonical_bytes(b) == joined(members_of(b))`."""
    return ("{" + ",".join([f"{_name(name)}:{members[name]}" for name in sorted(members)]) + "}").encode()


def signed_bytes(receipt: Body) -> bytes:
    """What the signature of a receipt is over: all of it but the signature, and but what reading added."""
    return canonical_bytes({key: value for key, value in receipt.items() if key not in (SIGNATURE, *ADDED_ON_READING)})


def chain_hash(receipt: Body) -> str:
    """What the next receipt of the chain names as its `previous_hash`: SHA-256 of the receipt with its signature."""
    return sha256(
        canonical_bytes({key: value for key, value in receipt.items() if key not in ADDED_ON_READING})
    ).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of the bytes that were delivered: no byte order mark, no change of line ends, no normalisation."""
    return sha256(text.encode()).hexdigest()
