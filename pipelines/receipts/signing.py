"""Signing receipts and checking signatures (contract: governance §2.6, §2.7, §2.11).

Two algorithms over the same bytes. HMAC proves to whoever has the key. Ed25519 (RFC 8032) proves to everybody who has
the public key, which is served, so that a third party needs neither a secret nor this server.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from config.deferred import ed25519
from config.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HMAC = "hmac-sha256-canonical-v1"
ED25519 = "ed25519-canonical-v1"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is worth. All four keys are always there; `valid` is null where nothing can be said."""

    valid: bool | None
    key_id: str | None
    algorithm: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by id. A verifier's has no private halves."""

    hmac: Mapping[str, bytes] = field(default_factory=dict)
    ed25519: Mapping[str, Ed25519PrivateKey] = field(default_factory=dict)
    ed25519_public: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Keyring:
        """The keys of a process."""
        private = {
            id: ed25519.Ed25519PrivateKey.from_private_bytes(seed) for id, seed in settings.receipt_ed25519_keys.items()
        }
        return cls(settings.receipt_signing_keys, private, {id: key.public_key() for id, key in private.items()})

    def algorithm_of(self, key_id: str) -> str | None:
        """What a key signs with; None for one that cannot sign here."""
        if key_id in self.hmac:
            return HMAC
        return ED25519 if key_id in self.ed25519 else None

    def sign(self, data: bytes, key_id: str) -> str:
        """The signature in lower-case hexadecimal digits: 64 of them for HMAC, 128 for Ed25519."""
        if key_id in self.hmac:
            return hmac.digest(self.hmac[key_id], data, sha256).hex()
        return self.ed25519[key_id].sign(data).hex()

    def verify(self, data: bytes, *, signature: str | None, key_id: str | None, algorithm: str | None) -> Verification:
        """Check a signature. Never raises: what cannot be checked is said to be so."""
        if signature is None:
            return Verification(valid=None, key_id=None, algorithm=None, reason="no_signature")
        valid: bool | None = None
        if algorithm not in (HMAC, ED25519):
            reason = "unsupported_algorithm"
        elif key_id not in (self.hmac if algorithm == HMAC else self.ed25519_public):
            reason = "key_unavailable"
        else:
            valid = self._matches(data, signature, str(key_id), algorithm)
            reason = "ok" if valid else "signature_mismatch"
        return Verification(valid=valid, key_id=key_id, algorithm=algorithm, reason=reason)

    def _matches(self, data: bytes, signature: str, key_id: str, algorithm: str) -> bool:
        if algorithm == HMAC:
            # APPSEC: in constant time; as bytes, because text with other letters than ASCII would raise.
            expected = hmac.digest(self.hmac[key_id], data, sha256).hex()
            return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
        from cryptography.exceptions import InvalidSignature

        try:
            raw = bytes.fromhex(signature)
            self.ed25519_public[key_id].verify(raw, data)
        except (InvalidSignature, ValueError):
            return False
        # Spaces and upper-case digits would be the same number, but not the signature that was written.
        return raw.hex() == signature


_opened: list[tuple[Settings, Keyring]] = []


def keyring_of(settings: Settings) -> Keyring:
    """The keys of a process, read once."""
    for known, keyring in _opened:
        if known is settings:
            return keyring
    keyring = Keyring.of(settings)
    _opened[:] = [(settings, keyring)]
    return keyring


def public_keys(keyring: Keyring) -> list[dict[str, str]]:
    """The public keys as a JSON Web Key Set has them (RFC 8037 §2)."""
    return [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": _url64(key.public_bytes_raw())}
        for id, key in keyring.ed25519_public.items()
    ]


def keyring_of_document(document: Any) -> Keyring:
    """A verifier's keys: a key set as `public_keys` makes it, or an object from key id to base64 of an HMAC key.

    Raises:
        ValueError: when it is neither.
    """
    if not isinstance(document, dict):
        raise ValueError("keys are a JSON object")
    try:
        if "keys" in document:
            return Keyring(
                ed25519_public={
                    str(key["kid"]): ed25519.Ed25519PublicKey.from_public_bytes(_from_url64(key["x"]))
                    for key in document["keys"]
                    if key.get("crv") == "Ed25519"
                }
            )
        return Keyring(hmac={id: base64.b64decode(key, validate=True) for id, key in document.items()})
    except (KeyError, TypeError, AttributeError, ValueError) as ex:
        raise ValueError(
            'keys are {"keys": [...]} as the server serves them, or {"<key id>": "<base64>"} for HMAC'
        ) from ex


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_url64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
