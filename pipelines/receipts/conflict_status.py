"""What a receipt says of the claims in it: which fact an entry states, and whether anything contradicted it.

`fact_key` is the claim's key, a name such as `location.current_home` and never its value. Where several people talk,
the speakers of a key are numbered in the order of the entries (`location.current_home@2`), because receipts outlive
those whom they are about and must not name them.

`conflict_status` (contract: governance §2.3), the first that holds:

* `overridden`: another memory has taken the place of this one, or this one that of a memory which said otherwise;
* `unresolved`: another entry states another value of the same fact, and no rule has decided between them;
* `merged`: a fact that may have several values has them, or this memory took the place of one that said the same;
* `none`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from pipelines.claims import CLAIM_KEY, ClaimKeys, same_value
from pipelines.overriding import CONFLICT
from storage.rows import Memory


class Stated(NamedTuple):
    """What an entry says of its fact."""

    fact_key: str | None
    conflict_status: str


class _Claim(NamedTuple):
    key: str
    value: str
    kind: str
    speaker: str


def stated(memories: Sequence[Memory], claim_keys: ClaimKeys) -> list[Stated]:
    """Of each memory, in their order. A memory without a claim, or one that is redacted, has no `fact_key`."""
    documents = [_document(memory) for memory in memories]
    claims = [_claim(memory, document) for memory, document in zip(memories, documents, strict=True)]
    values: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    entries: dict[tuple[str, str, str], int] = defaultdict(int)
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for memory, claim in zip(memories, claims, strict=True):
        if claim is not None and memory.status == "active":
            values[claim.key, claim.kind, claim.speaker].add(claim.value)
            entries[claim.key, claim.kind, claim.speaker] += 1
    found = []
    for memory, document, claim in zip(memories, documents, claims, strict=True):
        outcome = document.get(CONFLICT)
        if claim is None:
            found.append(Stated(None, _outcome(memory, outcome)))
            continue
        slot = claim.key, claim.kind, claim.speaker
        number = numbers[claim.key].setdefault(claim.speaker, len(numbers[claim.key]) + 1) if claim.speaker else 0
        status = _outcome(memory, outcome)
        if status != "overridden" and entries[slot] > 1:
            is_one = len(values[slot]) == 1 or claim_keys.cardinality(claim.key) == "multi"
            status = "merged" if is_one else "unresolved"
        found.append(Stated(f"{claim.key}@{number}" if number else claim.key, status))
    return found


def _outcome(memory: Memory, outcome: object) -> str:
    if memory.status == "superseded":
        return "overridden"
    return str(outcome) if outcome in ("merged", "overridden") else "none"


def _document(memory: Memory) -> dict[str, Any]:
    found = msgspec.json.decode(memory.metadata)
    return found if isinstance(found, dict) else {}


def _claim(memory: Memory, document: dict[str, Any]) -> _Claim | None:
    claim = document.get("claim")
    if not isinstance(claim, dict) or not isinstance(key := claim.get("key"), str) or not re.fullmatch(CLAIM_KEY, key):
        return None
    speaker = document.get("speaker")
    return _Claim(key, same_value(str(claim.get("value"))), memory.kind, speaker if isinstance(speaker, str) else "")
