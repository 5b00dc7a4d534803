"""Keys as operators ask for them and see them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.schemas.fields import PRINTABLE, Moment
from pipelines.principal import Scope
from storage.api_keys import KeyView

KeyId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{12}$", description="The part between `sw_` and the secret.")]
TenantId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        pattern=PRINTABLE,
        description="The only tenant that the key acts for; `-` is the one of requests that name none.",
        extra={"problem": "must not contain control characters or line separators"},
    ),
]
KeyName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,99}$",
        description="Whose key it is, as it will stand in the audit log. One key in use has it at a time.",
        examples=["ada@example.com"],
        extra={"problem": "use 1 to 100 letters, digits, spaces and . _ @ + -, beginning with a letter or digit"},
    ),
]


class KeyCreate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. Without `tenant_id` it is one of operators, who name a tenant in each request."""

    name: KeyName
    tenant_id: TenantId | None = None
    scopes: (
        Annotated[list[Scope], Meta(min_length=1, max_length=3, description="All that such a key can have, if unset.")]
        | None
    ) = None
    expires_at: Moment | None = None
    caller_id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    caller_type: (
        Annotated[
            str, Meta(min_length=1, max_length=64, description="Counts more than what requests say of themselves.")
        ]
        | None
    ) = None


class KeyRotate(msgspec.Struct, kw_only=True):
    """How a key is replaced."""

    overlap_seconds: Annotated[
        int, Meta(ge=0, le=30 * 86_400, description="Time that the old key goes on working, to change it everywhere.")
    ] = 86_400


class KeyPath(msgspec.Struct, kw_only=True):
    """Which key."""

    key_id: KeyId


class KeysQuery(msgspec.Struct, kw_only=True):
    """Which keys, newest first."""

    tenant_id: Annotated[str, Meta(max_length=256, description="Only keys of this tenant.")] | None = None
    operators: Annotated[bool, Meta(description="Only keys of operators.")] = False
    include_over: Annotated[bool, Meta(description="Also those that were revoked or have expired.")] = False
    cursor: KeyId | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Keys at most.")] = 50


class KeyList(msgspec.Struct, kw_only=True):
    """A page of keys."""

    keys: list[KeyView]
    next_cursor: str | None


class NewKeyAnswer(msgspec.Struct, kw_only=True):
    """A key that was made. `key` is shown this once and stored nowhere."""

    key: str
    details: KeyView
