"""Looking through everything Redis holds for what was erased, whatever the keys are called and whoever wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

import msgspec

from config.deferred import redis

#: Keys looked at at most; the result says whether those were all.
MOST_KEYS = 200_000

_UUID = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.I)
_SEPARATORS = re.compile(rb"[:/|{}\s]+")


class RedisSweep(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys were looked at, whether those were all, and how many hold something that was erased."""

    keys: int
    complete: bool
    left: int


def sweep(url: str, *, subject_id: str | None, ids: Collection[UUID]) -> RedisSweep:
    """Look at names and values of all keys for the subject's name and for erased ids.

    Args:
        subject_id: None where the subject goes on, so that only the ids are looked for.

    Raises:
        redis.RedisError: when Redis does not answer.
    """
    erased = set(ids)
    keys = left = 0
    with redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5) as client:
        for key in client.scan_iter(count=500):
            keys += 1
            if keys > MOST_KEYS:
                return RedisSweep(keys=MOST_KEYS, complete=False, left=left)
            if _names(key, subject_id) or any(_holds(value, subject_id, erased) for value in _values(client, key)):
                left += 1
    return RedisSweep(keys=keys, complete=True, left=left)


def _names(key: bytes, subject_id: str | None) -> bool:
    """Whether a part of the key's name, or what follows one of its separators, is the subject."""
    if subject_id is None:
        return False
    name = subject_id.encode()
    return name in _SEPARATORS.split(key) or key.endswith((b":" + name, b"/" + name))


def _holds(value: bytes, subject_id: str | None, erased: Collection[UUID]) -> bool:
    if subject_id is not None and (
        value == subject_id.encode()
        or json.dumps(subject_id).encode() in value
        or json.dumps(subject_id, ensure_ascii=False).encode() in value
    ):
        return True
    return any(UUID(found.decode()) in erased for found in _UUID.findall(value))


def _values(client: Any, key: bytes) -> Iterator[bytes]:
    """Everything a key holds, whatever its type; a key that is gone holds nothing."""
    kind = client.type(key)
    try:
        if kind == b"string":
            yield client.get(key) or b""
        elif kind == b"hash":
            for field, value in client.hscan_iter(key):
                yield from (field, value)
        elif kind == b"list":
            yield from client.lrange(key, 0, -1)
        elif kind == b"set":
            yield from client.sscan_iter(key)
        elif kind == b"zset":
            yield from (member for member, _ in client.zscan_iter(key))
        elif kind == b"stream":
            yield from (part for _, entry in client.xrange(key) for pair in entry.items() for part in pair)
    except redis.ResponseError:
        return  # It became another type between the two commands.
