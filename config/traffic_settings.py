"""Settings of what goes in and out: rate limits, webhooks and receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from config.receipt_keys import ed25519_keys, hmac_keys
from config.setting_field import setting
from config.setting_parsers import (
    boolean,
    choice,
    integer,
    network_list,
    seconds,
    webhook_events,
    webhook_secrets,
    webhook_url,
)


@dataclass(frozen=True, kw_only=True)
class TrafficSettings:
    """Fields carry the name of their variable without the prefix, in lower case."""

    webhook_url: str | None = setting(
        None, "Address that the events of all tenants are sent to; tenants may have addresses of their own", webhook_url
    )
    webhook_events: tuple[str, ...] = setting(
        (), "Events that `STATEWAVE_WEBHOOK_URL` receives, separated by commas; empty means all", webhook_events
    )
    webhook_secret: tuple[str, ...] = setting(
        (),
        "`whsec_...` secret that signs what is sent to `STATEWAVE_WEBHOOK_URL`; while it is being changed, the new and"
        " the old one separated by a comma",
        webhook_secrets,
    )
    webhook_timeout: float = setting(
        5.0, "Time a webhook receiver has to answer, from looking up its name to its status", seconds(0.5, 120)
    )
    webhook_allow_private: bool = setting(
        False, "Deliver webhooks to private, loopback and link-local addresses as well", boolean
    )
    webhook_retention_hours: int = setting(
        168, "Hours that delivered webhooks are kept; 0 keeps them for ever, as dead letters are", integer(0, 24 * 3650)
    )
    rate_limit_rpm: int = setting(
        0, "Requests a minute that one client address may send; 0 is no limit", integer(0, 1_000_000)
    )
    rate_limit_key_rpm: int = setting(
        0, "Requests a minute that may be sent with one API key; 0 is no limit", integer(0, 1_000_000)
    )
    rate_limit_tenant_rpm: int = setting(
        0, "Requests a minute of one tenant, unless it has a limit of its own; 0 is no limit", integer(0, 1_000_000)
    )
    rate_limit_strategy: str = setting(
        "distributed",
        "`distributed` counts all API processes together, in Redis; `memory` each for itself",
        choice("distributed", "memory"),
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses and networks of proxies whose `X-Forwarded-For` or `Forwarded` header is believed",
        network_list,
    )
    receipts_disabled: bool = setting(
        False, "Write no receipts, whatever tenants and requests ask for; looked at again on every call", boolean
    )
    receipt_signing_keys: Mapping[str, bytes] = setting(
        {}, "HMAC keys of receipts: a JSON object from key id to base64 of at least 32 bytes", hmac_keys
    )
    receipt_ed25519_keys: Mapping[str, bytes] = setting(
        {}, "Ed25519 keys of receipts: a JSON object from key id to base64 of a 32-byte seed", ed25519_keys
    )
