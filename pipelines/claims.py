"""Claims: what a memory asserts, as a key and a value, so that conflicts are decided by meaning and not by wording.

A key is dotted and lower-case. Of a single-valued key only one value is true at a time ("where I live"); of a
multi-valued key any number are ("tools I use"). Where several people talk the key is scoped to the speaker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipelines.compilation import words

Cardinality = Literal["single", "multi"]

#: The version of the `claim` object in a memory's metadata.
CLAIM_SCHEMA_VERSION = 1

CLAIM_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}(?:\.[a-z0-9_]{1,64}){0,5}")

_ONE: Cardinality = "single"
_MANY: Cardinality = "multi"

_SCOPE = "@"
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class ClaimKeys:
    """The known claim keys and how many values each may have. `x.*` stands for every key one level below `x`."""

    known: Mapping[str, Cardinality]

    def cardinality(self, key: str) -> Cardinality | None:
        """Tell how many values a key, scoped or not, may have; None if the key is not known."""
        base = unscoped(key)
        exact = self.known.get(base)
        return exact or self.known.get(base.rpartition(".")[0] + ".*")

    def with_additions(self, additions: Mapping[str, Cardinality]) -> ClaimKeys:
        """Add a tenant's keys. A tenant may also change the cardinality of a known key."""
        return ClaimKeys({**self.known, **additions})


_SINGLE: tuple[str, ...] = (
    "identity.name",
    "identity.preferred_name",
    "identity.age",
    "identity.birthday",
    "employment.current_employer",
    "employment.role",
    "location.current_home",
    "location.address",
    "billing.primary_payment_processor",
    "account.id",
    "account.plan",
    "company.size",
    "contact.email",
    "contact.phone",
    "contact.timezone",
    "contact.language",
    "device.model",
    "device.phone",
    "device.computer",
    "device.os",
    "device.browser",
    "product.version",
    "preferences.favorite.*",
)
_MULTI: tuple[str, ...] = (
    "tools.used",
    "skills",
    "preferences",
    "payment.processors_used",
    "languages.spoken",
    "account.references",
)

#: Keys of the contract, and those of facts that support conversations hold.
DEFAULT_CLAIM_KEYS = ClaimKeys({**dict.fromkeys(_SINGLE, _ONE), **dict.fromkeys(_MULTI, _MANY)})


def scoped(key: str, speaker: str | None) -> str:
    """Bind a key to one of several speakers, so that two people's homes do not contradict each other."""
    name = "-".join(words(speaker)) if speaker else ""
    return f"{key}{_SCOPE}{name}" if name else key


def unscoped(key: str) -> str:
    """Return the key without its speaker."""
    return key.partition(_SCOPE)[0]


def same_value(value: str | None) -> str:
    """Reduce a value to what decides whether two are the same: its words, without a leading article."""
    found = words(value or "")
    return " ".join(found[1:] if len(found) > 1 and found[0] in _ARTICLES else found)


def claim_metadata(key: str, value: str, valid_from: datetime) -> dict[str, Any]:
    """Build the `claim` object that clients read in a memory's metadata."""
    return {
        "schema_version": CLAIM_SCHEMA_VERSION,
        "key": unscoped(key),
        "value": value,
        "valid_from": valid_from.isoformat(),
    }
