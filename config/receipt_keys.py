"""Keys that sign receipts, as settings give them. A key that could not sign stops the process with what to do."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping

#: Names of keys: what tenant configurations and receipts call them.
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Bytes of an HMAC key at least, and of an Ed25519 seed exactly (contract: governance §2.7; RFC 8032 §5.1.5).
LEAST_HMAC_BYTES = 32
SEED_BYTES = 32

_EXAMPLE = '{"2026-01": "<base64 of 32 random bytes>"}; `openssl rand -base64 32` makes one'


def hmac_keys(value: str) -> Mapping[str, bytes]:
    """A JSON object from key id to base64 of at least 32 bytes."""
    keys = _decoded(value)
    for name, key in keys.items():
        if len(key) < LEAST_HMAC_BYTES:
            raise ValueError(f"key {name!r} has {len(key)} bytes, {LEAST_HMAC_BYTES} are needed: use {_EXAMPLE}")
    return keys


def ed25519_keys(value: str) -> Mapping[str, bytes]:
    """A JSON object from key id to base64 of a 32-byte seed."""
    keys = _decoded(value)
    for name, key in keys.items():
        if len(key) != SEED_BYTES:
            raise ValueError(f"key {name!r} has {len(key)} bytes, a seed has exactly {SEED_BYTES}: use {_EXAMPLE}")
    return keys


def _decoded(value: str) -> dict[str, bytes]:
    if not value.strip():
        return {}
    try:
        named = json.loads(value, object_pairs_hook=_without_repetitions)
    except ValueError as ex:
        # APPSEC: the text of a JSON error may quote its input, which holds keys.
        raise ValueError(str(ex) if isinstance(ex, _Repeated) else f"not JSON: use {_EXAMPLE}") from None
    if not isinstance(named, dict):
        raise ValueError(f"not a JSON object: use {_EXAMPLE}")
    keys = {}
    for name, encoded in named.items():
        if KEY_ID.fullmatch(name) is None:
            raise ValueError(f"key id {name[:80]!r}: use 1 to 64 letters, digits, dots, hyphens or underscores")
        try:
            keys[name] = base64.b64decode(encoded, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise ValueError(f"key {name!r} is not base64: use {_EXAMPLE}") from None
    return keys


class _Repeated(ValueError):
    pass


def _without_repetitions(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise _Repeated("a key id stands there twice: which key it names would be a guess")
    return named
