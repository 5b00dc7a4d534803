"""Webhook endpoints and deliveries as operators see them (contract: governance §9.6; the rest is our own)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from api.schemas.fields import DEFAULT_TENANT, PRINTABLE, Moment
from api.schemas.timeline import Offset
from config.webhooks import MAX_URL_LENGTH
from pipelines.webhook_endpoints import EndpointChange
from storage.webhook_endpoints import Endpoint
from storage.webhook_log import DeliveryHistory, Filter, LoggedDelivery

Status = Literal["pending", "delivered", "dead_letter"]

_TenantFilter = Annotated[str, Meta(max_length=256, description="Only of this tenant; without it, of all.")]
_EventFilter = Annotated[str, Meta(max_length=100, description="Only this event, such as `memories.compiled`.")]

_Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_URL_LENGTH,
        description="Where events are sent; http or https, on the public internet unless private targets are allowed.",
        examples=["https://hooks.example.com/statewave"],
    ),
]
_Events = Annotated[
    list[Annotated[str, Meta(max_length=100)]],
    Meta(max_length=50, description="Events that are sent; an empty list means all.", examples=[["memories.compiled"]]),
]
_Description = Annotated[str, Meta(max_length=500, description="For people.")]
_Secret = Annotated[
    str, Meta(max_length=200, description="`whsec_` and the base64 of 24 to 64 bytes; without it, one is made.")
]


class DeliveriesQuery(msgspec.Struct, kw_only=True):
    """Which deliveries, newest first."""

    status: Status | None = None
    event_type: _EventFilter | None = None
    tenant_id: _TenantFilter | None = None
    endpoint_id: UUID | None = None
    limit: Annotated[int, Meta(ge=1, le=100, description="Deliveries at most.")] = 50
    offset: Offset = 0

    def filter(self, tenant_id: str | None) -> Filter:
        return Filter(status=self.status, event=self.event_type, tenant_id=tenant_id, endpoint_id=self.endpoint_id)


class PurgeQuery(msgspec.Struct, kw_only=True):
    """Which deliveries are deleted: at least one criterion, and only those that are finished."""

    status: Status | None = None
    event_type: _EventFilter | None = None
    tenant_id: _TenantFilter | None = None

    def filter(self, tenant_id: str | None) -> Filter:
        return Filter(status=self.status, event=self.event_type, tenant_id=tenant_id)


class TenantQuery(msgspec.Struct, kw_only=True):
    """Whose deliveries are counted."""

    tenant_id: _TenantFilter | None = None


class DeliveryPath(msgspec.Struct, kw_only=True):
    """Names a delivery, or an event by the `webhook-id` that its receiver saw."""

    event_id: UUID


class TenantPath(msgspec.Struct, kw_only=True):
    """Names a tenant."""

    tenant_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            pattern=PRINTABLE,
            description=f"The tenant; `{DEFAULT_TENANT}` is the one of requests without a tenant header.",
            extra={"problem": "must not contain control characters or line separators"},
        ),
    ]

    @property
    def name(self) -> str:
        return "" if self.tenant_id == DEFAULT_TENANT else self.tenant_id


class EndpointPath(TenantPath, kw_only=True):
    """Names an endpoint of a tenant."""

    endpoint_id: UUID


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of deliveries, and how many match in all."""

    events: list[DeliverySummary]
    total: int
    limit: int
    offset: int


class DeliverySummary(LoggedDelivery, frozen=True, kw_only=True):
    """How the delivery of an event to one endpoint stands. `event_id` is what the receiver sees as `webhook-id`."""

    max_attempts: int


class DeliveryDetail(DeliveryHistory, frozen=True, kw_only=True):
    """A delivery with its failed attempts and the deliveries of the same event to all endpoints. No payload."""

    max_attempts: int


class DeliveryCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries by status."""

    pending: int
    delivered: int
    dead_letter: int
    total: int


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """How many were deleted."""

    deleted: int


class ReplayRequest(msgspec.Struct, kw_only=True):
    """Which dead letters are sent again; an empty object means all, up to the limit."""

    event_type: _EventFilter | None = None
    tenant_id: _TenantFilter | None = None
    endpoint_id: UUID | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000, description="Dead letters at most, oldest first.")] = 1000

    def filter(self, tenant_id: str | None) -> Filter:
        return Filter(
            event=self.event_type,
            tenant_id=tenant_id,
            endpoint_id=self.endpoint_id,
            since=self.since,
            until=self.until,
        )


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """How many will be sent again, and how many dead letters of the selection are left."""

    replayed: int
    remaining: int


class EndpointCreate(msgspec.Struct, kw_only=True):
    """A new endpoint."""

    url: _Url
    events: _Events = []
    description: _Description = ""
    secret: _Secret | None = None
    enabled: bool = True


class EndpointPatch(msgspec.Struct, kw_only=True):
    """What is to be changed; what is left out or null stays."""

    url: _Url | None = None
    events: _Events | None = None
    description: _Description | None = None
    enabled: bool | None = None

    def change(self) -> EndpointChange:
        return EndpointChange(url=self.url, events=self.events, description=self.description, enabled=self.enabled)


class SecretRotate(msgspec.Struct, kw_only=True):
    """The next secret, if it is not to be made here."""

    secret: _Secret | None = None


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, without its secret."""

    id: UUID
    tenant_id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None
    former_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint, **more: Any) -> Self:
        """What of an endpoint is shown."""
        names = (field.name for field in msgspec.structs.fields(EndpointView))
        return cls(**{name: getattr(endpoint, name) for name in names}, **more)


class EndpointWithSecret(EndpointView, frozen=True, kw_only=True):
    """An endpoint with its secret: shown when it is made, and never again."""

    secret: str


class EndpointList(msgspec.Struct, frozen=True, kw_only=True):
    """All endpoints of a tenant, oldest first."""

    endpoints: list[EndpointView]


class EndpointDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """What went with an endpoint."""

    id: UUID
    undelivered_dropped: int


class TestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a test delivery went. `http_status` is null when there was no answer."""

    delivered: bool
    http_status: int | None
    error: str | None
    milliseconds: int
