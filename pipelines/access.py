"""Who may come in, and for which tenant: what the API asks before it reads anything of a request.

A process remembers keys and regions it has seen, so the common request costs no statement for them. It may do so for
as long as it likes: every transaction of the request compares the access revision (`storage.standing.Standing`),
which grows in the transaction of every change of a key or of a tenant's document. A key that was revoked opens nothing
from that commit on, in no process, whatever becomes of Redis or of notifications.
"""

from __future__ import annotations

import hmac
import threading
from datetime import datetime
from typing import Any

import msgspec

from config.clock import utcnow
from config.errors import Forbidden, Unauthenticated
from config.settings import Settings
from pipelines.key_format import PREFIX, SentKey, read_key
from pipelines.principal import ANONYMOUS, SHARED, Principal
from storage import api_keys
from storage.api_keys import KeySecret
from storage.transactions import Pool, operator_transaction

#: Keys and tenants that a process remembers; it forgets all of them when there are more.
REMEMBERED = 20_000

#: What an unknown key is compared with, so that it takes as long as a known one.
_NO_HASH = bytes(32)


class Region(msgspec.Struct, frozen=True):
    """Where a tenant's rows may be served: `pin` is None for everywhere. What cannot be read is served nowhere."""

    pin: str | None
    is_readable: bool = True

    def may_be_served_from(self, region: str) -> bool:
        """Whether a server of that region may serve the tenant; compared letter by letter."""
        return self.is_readable and self.pin in (None, region)


class Memory:
    """What one process remembers: facts that held at one access revision, all at the same."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._revision = -1
        self._keys: dict[str, tuple[KeySecret, Principal]] = {}
        self._regions: dict[str, Region] = {}

    def key(self, id: str) -> tuple[int, tuple[KeySecret, Principal] | None, bool]:
        """The revision, the key as it was then, and whether it was read just now rather than remembered."""
        with self._lock:
            if id in self._keys:
                return self._revision, self._keys[id], False
        with operator_transaction(self._pool, everywhere=True) as conn:
            revision, secret = api_keys.find_secret(conn, id)
        # Only what lets somebody in is remembered, because only that is confirmed by a transaction. And keys that do
        # not exist are as many as anybody likes.
        if secret is None:
            return revision, None, True
        found = (secret, _principal(id, secret))
        if secret.revoked_at is not None:
            return revision, found, True
        self._remember(revision, self._keys, id, found)
        return revision, found, True

    def region(self, tenant_id: str, *, served_from: str) -> tuple[int, Region, bool]:
        """The revision, where the tenant may be served, and whether that was read just now."""
        with self._lock:
            if tenant_id in self._regions:
                return self._revision, self._regions[tenant_id], False
        with operator_transaction(self._pool, everywhere=True) as conn:
            revision, stored = api_keys.find_pin(conn, tenant_id)
        region = _region(stored)
        if region.may_be_served_from(served_from):
            self._remember(revision, self._regions, tenant_id, region)
        return revision, region, True

    def forget_before(self, revision: int) -> None:
        """Drop everything unless it is as new as `revision`."""
        with self._lock:
            if self._revision < revision:
                self._forget(revision)

    def _remember(self, revision: int, where: dict[str, Any], name: str, fact: Any) -> None:
        with self._lock:
            # Also when it is older, as after a restored backup: whoever relies on it finds out in time.
            if revision != self._revision or len(where) >= REMEMBERED:
                self._forget(revision)
            where[name] = fact

    def _forget(self, revision: int) -> None:
        self._revision = revision
        self._keys.clear()
        self._regions.clear()


class Admission:
    """What one request was let in by. It is the request's `Standing` wherever it relies on rows."""

    def __init__(self, door: Door, sent: SentKey | None, principal: Principal) -> None:
        self._door = door
        self._sent = sent
        self._tenants: list[str] = []
        self.principal = principal
        self.revision = -1
        self.is_confirmed = False

    @property
    def relies_on_rows(self) -> bool:
        """Whether it rests on anything that somebody may withdraw."""
        return self._sent is not None or bool(self._tenants)

    @property
    def key_id(self) -> str | None:
        return self._sent.id if self._sent else None

    def tenant_for(self, named: str) -> str:
        """The tenant that the request acts for, given the one that it names.

        Raises:
            Forbidden: when the key belongs to another tenant.
        """
        own = self.principal.tenant_id
        if own is None:
            return named
        if named and named != own:
            raise Forbidden("the API key belongs to another tenant than the request names", code="tenant_mismatch")
        return own

    def require_region(self, tenant_id: str) -> None:
        """Refuse a tenant that another region serves (contract: governance §8). Costs nothing where no region is set.

        Raises:
            Forbidden: with the tenant's region, never with this server's.
        """
        own = self._door.region
        if own is None or tenant_id in self._tenants:
            return
        self._tenants.append(tenant_id)
        self._check_region(tenant_id, own)

    def renew(self) -> None:
        """Check everything again from the rows.

        Raises:
            Forbidden: when the key has ended or the tenant has moved away.
        """
        self._door.memory.forget_before(self.revision + 1)
        self.revision = -1
        self.check_key()
        for tenant_id in self._tenants:
            self._check_region(tenant_id, self._door.region or "")

    def check_key(self) -> None:
        """Find out what the key that was sent opens.

        Raises:
            Forbidden: when it opens nothing.
        """
        if self._sent is None:
            return
        revision, found, is_fresh = self._door.memory.key(self._sent.id)
        self._rests_on(revision, is_fresh)
        # APPSEC: in constant time, and as long for an id that does not exist.
        matches = hmac.compare_digest(self._sent.hash, found[0].secret_hash if found else _NO_HASH)
        if found is None or not matches:
            raise Forbidden
        secret, principal = found
        if secret.revoked_at is not None:
            raise Forbidden("the API key was revoked")
        if secret.expires_at is not None and secret.expires_at <= utcnow():
            raise Forbidden("the API key has expired")
        if self.principal is not ANONYMOUS and self.principal.tenant_id != principal.tenant_id:
            # The request acts for the tenant it began with; keys do not move, but nothing depends on it.
            raise Forbidden
        self.principal = principal

    def _check_region(self, tenant_id: str, own: str) -> None:
        revision, region, is_fresh = self._door.memory.region(tenant_id, served_from=own)
        self._rests_on(revision, is_fresh)
        if not region.may_be_served_from(own):
            where = f"belongs to region {region.pin!r}" if region.is_readable else "has a region that cannot be read"
            raise Forbidden(f"the tenant {where}", code="residency.mismatch")

    def _rests_on(self, revision: int, is_fresh: bool) -> None:
        """Facts of different revisions: the lower counts, so that the next transaction looks again."""
        if self.revision == -1:
            self.revision, self.is_confirmed = revision, is_fresh
        else:
            self.revision = min(self.revision, revision)
            self.is_confirmed = self.is_confirmed and is_fresh


class Door:
    """The way in of one process."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.memory = Memory(pool)
        self.region = settings.region
        self._shared = settings.api_key.encode() if settings.api_key else None
        self.requires_key = settings.api_key is not None or settings.require_api_key
        self._uses = LastUses(pool)

    def admit(self, sent: bytes) -> Admission:
        """Let the bearer of a key in, or nobody in particular where no key is asked for.

        Args:
            sent: the key as bytes; empty for none.

        Raises:
            Unauthenticated: when a key is needed and none was sent.
            Forbidden: when the key opens nothing.
        """
        if not sent:
            if self.requires_key:
                raise Unauthenticated
            return Admission(self, None, ANONYMOUS)
        # APPSEC: in constant time.
        if self._shared is not None and hmac.compare_digest(sent, self._shared):
            return Admission(self, None, SHARED)
        key = read_key(sent)
        if key is None:
            if self.requires_key or sent.startswith(PREFIX.encode()):
                raise Forbidden
            return Admission(self, None, ANONYMOUS)
        admission = Admission(self, key, ANONYMOUS)
        admission.check_key()
        return admission

    def note_use(self, key_id: str) -> None:
        """Remember that a key was used; written to its row within a minute."""
        self._uses.note(key_id, utcnow())


class LastUses:
    """When keys were used last, gathered in memory: a statement for every request would be a high price for it."""

    #: Seconds between writes.
    INTERVAL = 60.0

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._uses: dict[str, datetime] = {}
        self._written: datetime | None = None

    def note(self, key_id: str, at: datetime) -> None:
        """Remember a use; now and then, write all of them down."""
        with self._lock:
            self._uses[key_id] = at
            if self._written is not None and (at - self._written).total_seconds() < self.INTERVAL:
                return
            self._written, uses, self._uses = at, self._uses, {}
        with operator_transaction(self._pool, everywhere=True) as conn:
            api_keys.note_uses(conn, uses)


def _principal(id: str, secret: KeySecret) -> Principal:
    return Principal(
        name=secret.name,
        kind="operator" if secret.tenant_id is None else "tenant",
        key_id=id,
        tenant_id=secret.tenant_id,
        scopes=frozenset(secret.scopes),  # type: ignore[arg-type]
        caller_id=secret.caller_id,
        caller_type=secret.caller_type,
    )


def _region(stored: Any) -> Region:
    if stored is None or stored == "":
        return Region(None)
    return Region(stored) if isinstance(stored, str) else Region(None, is_readable=False)
