"""What a webhook may be: the events there are, and what an address and a secret must look like.

Settings and the admin API check by the same rules.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from urllib.parse import SplitResult, urlsplit

from config.addresses import is_public, parse_address

EPISODE_CREATED = "episode.created"
BATCH_CREATED = "episodes.batch_created"
MEMORIES_COMPILED = "memories.compiled"
SUBJECT_DELETED = "subject.deleted"
HEALTH_DEGRADED = "subject.health_degraded"
HEALTH_IMPROVED = "subject.health_improved"

#: Every event that can be subscribed to.
EVENTS = (EPISODE_CREATED, BATCH_CREATED, MEMORIES_COMPILED, SUBJECT_DELETED, HEALTH_DEGRADED, HEALTH_IMPROVED)

#: What a test delivery is called. Nobody subscribes to it.
TEST_EVENT = "webhook.test"

#: How a secret begins (Standard Webhooks); its key follows in base64.
SECRET_PREFIX = "whsec_"

#: Bytes of a key that is accepted, as Standard Webhooks asks, and of one that is made here.
KEY_BYTES = (24, 64)
NEW_KEY_BYTES = 32

MAX_URL_LENGTH = 2048


def check_events(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names without repetition.

    Raises:
        ValueError: naming those that are not events, and all that are.
    """
    unknown = [name for name in names if name not in EVENTS]
    if unknown:
        raise ValueError(f"there is no event {', '.join(map(repr, unknown))}; use some of {', '.join(EVENTS)}")
    return tuple(dict.fromkeys(names))


def split_url(url: str) -> SplitResult:
    """The parts of an address that webhooks can be sent to.

    Raises:
        ValueError: saying what is wrong with it.
    """
    remedy = "use an address such as https://hooks.example.com/statewave"
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"is longer than {MAX_URL_LENGTH} characters")
    # APPSEC: white space and controls would end the request line early and let the rest of the address write headers.
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"must be ASCII without spaces or controls (percent-encode them); {remedy}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as ex:
        raise ValueError(f"{ex}; {remedy}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(remedy)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password; sign deliveries with a secret instead")
    return parts


def names_private_host(url: str) -> bool:
    """Whether the address itself, before any look-up, names a host that is not on the public internet."""
    host = (split_url(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(parse_address(host))
    except ValueError:
        return False


def secret_key(secret: str) -> bytes:
    """The key within a secret.

    Raises:
        ValueError: when it is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    low, high = KEY_BYTES
    remedy = f"use {SECRET_PREFIX} followed by the base64 of {low} to {high} random bytes: openssl rand -base64 32"
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(remedy) from None
    if not secret.startswith(SECRET_PREFIX) or not low <= len(key) <= high:
        raise ValueError(remedy)
    return key


def new_secret() -> str:
    """A secret that nobody has seen yet."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(NEW_KEY_BYTES)).decode()
