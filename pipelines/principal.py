"""Who asks: the key of a request, as far as rules need to know it."""

from __future__ import annotations

from typing import Literal

import msgspec

Scope = Literal["read", "write", "admin"]

ALL_SCOPES: frozenset[Scope] = frozenset({"read", "write", "admin"})


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The bearer of a key, or nobody in particular."""

    #: Name of the key, as it stands in the audit log and in fields such as `promoted_by`.
    name: str
    #: `shared` holds STATEWAVE_API_KEY; `anonymous` came without a key where none is asked for.
    kind: Literal["operator", "tenant", "shared", "anonymous"]
    #: Id of the key; None where none of ours was sent.
    key_id: str | None = None
    #: The only tenant that the key may act for; None lets the request name one.
    tenant_id: str | None = None
    scopes: frozenset[Scope] = ALL_SCOPES
    #: Identity of the caller that comes with the key. It counts more than what the request says of itself.
    caller_id: str | None = None
    caller_type: str | None = None


ANONYMOUS = Principal(name="anonymous", kind="anonymous")
SHARED = Principal(name="shared-key", kind="shared")
