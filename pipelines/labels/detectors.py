"""Suggesting labels: which kinds of sensitive data a text holds (contract: governance §5).

Precision before recall: a suggestion that is wrong teaches operators to ignore all of them. `make bench-labels` prints
both over a corpus. Suggestions change nothing until somebody promotes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from pipelines.labels.contact import has_email, has_phone
from pipelines.labels.financial import has_card, has_iban
from pipelines.labels.network import has_ip_address
from pipelines.labels.secrets import has_private_key, has_token


class CatalogueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A label that may be suggested, and for what."""

    label: str
    description: str


DETECTORS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "financial.card": has_card,
        "financial.iban": has_iban,
        "pii.email": has_email,
        "pii.ip_address": has_ip_address,
        "pii.phone": has_phone,
        "secret.private_key": has_private_key,
        "secret.token": has_token,
    }
)

CATALOGUE = [
    CatalogueEntry(label="pii.email", description="An electronic mail address"),
    CatalogueEntry(label="pii.phone", description="A telephone number with its country, or in North American form"),
    CatalogueEntry(label="pii.ip_address", description="An IPv4 or IPv6 address other than loopback and masks"),
    CatalogueEntry(label="financial.card", description="A payment card number with a valid check digit"),
    CatalogueEntry(label="financial.iban", description="An international bank account number with valid check digits"),
    CatalogueEntry(
        label="secret.token", description="An access token of AWS, GitHub, Google, Slack and the like, a JWT"
    ),
    CatalogueEntry(label="secret.private_key", description="A private key in PEM, OpenPGP or PuTTY form"),
]


def suggest_labels(text: str) -> list[str]:
    """The labels whose data the text holds, sorted."""
    return [label for label, is_there in DETECTORS.items() if is_there(text)]
