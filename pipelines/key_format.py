"""What an API key looks like: `sw_<id>_<secret><checksum>`.

The id (12 characters) finds the row. The secret is 256 random bits in base 62 (43 characters), so its hash can be a
plain SHA-256: there is nothing to guess. The checksum (6 characters, CRC-32) lets a mistyped or made-up key be refused
without asking the database, and scanners for leaked secrets be sure.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "sw_"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BITS = 256
_SECRET_CHARS, _CHECKSUM_CHARS = 43, 6
_KEY = re.compile(rb"sw_([0-9A-Za-z]{12})_[0-9A-Za-z]{49}")


@dataclass(frozen=True, slots=True)
class SentKey:
    """A key as somebody sent it: its id, and the hash it must have."""

    id: str
    hash: bytes = field(repr=False)


def new_key() -> tuple[str, SentKey]:
    """A fresh key, to be shown once, and what is stored of it."""
    id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    body = f"{PREFIX}{id}_{_base62(secrets.randbits(_SECRET_BITS), _SECRET_CHARS)}"
    key = body + _checksum(body.encode())
    return key, SentKey(id, hashlib.sha256(key.encode()).digest())


def read_key(sent: bytes) -> SentKey | None:
    """The key that was sent; None when it cannot be one of ours."""
    match = _KEY.fullmatch(sent)
    if match is None or _checksum(sent[:-_CHECKSUM_CHARS]).encode() != sent[-_CHECKSUM_CHARS:]:
        return None
    return SentKey(match[1].decode(), hashlib.sha256(sent).digest())


def _checksum(body: bytes) -> str:
    return _base62(zlib.crc32(body), _CHECKSUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
