"""Judgements that a process keeps, so that reading under a policy need not read again what is labelled.

A judgement rests on the policy, on the rules of it that concern the caller, and on the subject's memories. The first
two are part of the key. For the third the database tells every reader a version together with the beginning of its
transaction (`memories_version` of migration 0013): two readers with the same version see the same memories, to the
last label. So a judgement is used for exactly as long as it is what would be decided anew, on every replica; no time
has to pass and no message has to arrive for a relabelling to count.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pipelines.policy.judgement import Judgement

#: Ids of memories and episodes in all that is kept, at some 150 bytes each. What names more alone is not kept.
MOST_IDS = 200_000


class Key(NamedTuple):
    """What a judgement is about, besides the memories as they are."""

    tenant_id: str
    subject_id: str
    bundle_hash: str
    #: Places of the rules that concern the caller.
    rules: tuple[int, ...]


class KeptJudgements:
    """The judgements that were used last, each of one version of its subject. Safe to share between threads."""

    def __init__(self, most_ids: int = MOST_IDS) -> None:
        self._most_ids = most_ids
        self._ids = 0
        self._kept: OrderedDict[Key, tuple[int, Judgement]] = OrderedDict()
        self._lock = Lock()

    def find(self, key: Key, version: int | None) -> Judgement | None:
        """The judgement of this very version; none of a reader that was told no version."""
        if version is None:
            return None
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != version:
                return None
            self._kept.move_to_end(key)
            return kept[1]

    def keep(self, key: Key, version: int | None, judgement: Judgement) -> None:
        """Keep a judgement of memories of this version, in the place of another version's."""
        if version is None:
            return
        with self._lock:
            former = self._kept.pop(key, None)
            if former is not None:
                self._ids -= former[1].size
            if judgement.size > self._most_ids:
                return
            self._kept[key] = version, judgement
            self._ids += judgement.size
            while self._ids > self._most_ids:
                _, (_, forgotten) = self._kept.popitem(last=False)
                self._ids -= forgotten.size
