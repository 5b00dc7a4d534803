"""What goes over the wire: body, headers and signature of one attempt (Standard Webhooks 1.0.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

import msgspec

from config.webhooks import secret_key

USER_AGENT = "statewave-webhooks/1"

_encode = msgspec.json.Encoder().encode


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every webhook."""

    event: str
    timestamp: datetime
    data: msgspec.Raw


def encode_body(event: str, timestamp: datetime, data: msgspec.Raw) -> bytes:
    """The bytes that are sent and signed; the same at every attempt."""
    return _encode(Body(event=event, timestamp=timestamp, data=data))


def headers(
    body: bytes, *, event: str, event_id: UUID, tenant_id: str, attempt: int, secrets: Sequence[str], now: datetime
) -> dict[str, str]:
    """The headers of an attempt. With several secrets, a signature of each: receivers accept any that they know."""
    stamp = str(int(now.timestamp()))
    result = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": str(event_id),
        "webhook-timestamp": stamp,
        "X-Statewave-Event": event,
        "X-Statewave-Attempt": str(attempt),
    }
    if tenant_id:
        # APPSEC: tenants choose their names; quoted, none of them can end the header.
        result["X-Statewave-Tenant"] = quote(tenant_id, safe="")
    if secrets:
        result["webhook-signature"] = " ".join(sign(secret, str(event_id), stamp, body) for secret in secrets)
    return result


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature `v1,<base64>`: HMAC-SHA256 over id, timestamp and body, joined by full stops."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret_key(secret), signed, hashlib.sha256)).decode()
