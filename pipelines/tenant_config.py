"""What operators can say about a tenant (contract: governance §7).

`TenantConfig` is the single list: the body of `PATCH /admin/tenants/{id}/config`, its bounds and the OpenAPI document
come from its fields. To add a key, add a field with its bounds and its default.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from storage import tenant_configs
from storage.full_text import Configuration
from storage.transactions import Connection

ClaimKey = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}(\.[a-z0-9_]{1,64}){0,5}$", max_length=256)]
KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
#: What a month's use can be bounded of.
Quota = Literal["requests", "episodes", "contexts", "searches", "tokens_delivered"]
Region = Annotated[str, Meta(min_length=1, max_length=64)]


class TenantConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's configuration, with the default of every key that is not set."""

    receipts: Literal["always", "on_request", "never"] = "on_request"
    #: Days; 0 keeps receipts for ever.
    receipt_retention_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    policy_mode: Literal["log_only", "enforce"] = "log_only"
    require_caller_identity: bool = False
    #: The only region that may serve the tenant; None lets every region serve it.
    region: Region | None = None
    receipt_signing_key_id: KeyId | None = None
    claim_keys: Annotated[dict[ClaimKey, Literal["single", "multi"]], Meta(max_length=64)] | None = None
    #: Configuration of full-text search for memories whose language cannot be told; None is English.
    text_language: Configuration | None = None
    #: Requests a minute; 0 is no limit, None leaves it to STATEWAVE_RATE_LIMIT_TENANT_RPM.
    rate_limit_rpm: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    #: How much may be used of what in a calendar month (UTC).
    monthly_quotas: (
        Annotated[
            dict[Quota, Annotated[int, Meta(ge=0, le=10**15)]],
            Meta(extra_json_schema={"propertyNames": {"enum": list(get_args(Quota))}}),
        ]
        | None
    ) = None
    #: What model providers may cost in a day (UTC); None leaves it to STATEWAVE_LLM_DAILY_BUDGET_USD and _TOKENS.
    llm_daily_budget_usd: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None
    llm_daily_budget_tokens: Annotated[int, Meta(ge=0, le=10**12)] | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration with the version of the document it was read from."""

    config: TenantConfig
    #: 0 when the tenant has no document.
    version: int
    #: Keys whose stored value cannot be read. Only somebody who wrote to the table by hand can cause it; rules that
    #: protect data must then assume the stricter case.
    unreadable: frozenset[str] = frozenset()


_DEFAULT = Known(config=TenantConfig(), version=0)
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(TenantConfig)}


def tenant_config(conn: Connection, tenant_id: str) -> TenantConfig:
    """The tenant's configuration, in a statement of its own; the defaults when there is none.

    Where another statement is sent anyway, select `storage.tenant_configs.CONFIG_SQL` in it and `parse` that.
    """
    return parse(tenant_configs.config_text(conn, tenant_id)).config


@lru_cache(maxsize=4096)
def parse(text: str | None) -> Known:
    """Read what `CONFIG_SQL` selects. The same text is read once per process, so this costs a dictionary look-up."""
    if text is None:
        return _DEFAULT
    stored = msgspec.json.decode(text)
    values: dict[str, Any] = {}
    unreadable = set()
    for name, value in stored["config"].items():
        if name not in _FIELDS:
            continue
        try:
            values[name] = msgspec.convert(value, _FIELDS[name])
        except msgspec.ValidationError:
            unreadable.add(name)
    return Known(config=TenantConfig(**values), version=stored["version"], unreadable=frozenset(unreadable))
