"""Deliveries of webhooks, for operators."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from api.operations import Call, Operation
from api.schemas.webhooks import (
    Deleted,
    DeliveriesQuery,
    DeliveryCounts,
    DeliveryDetail,
    DeliveryPage,
    DeliveryPath,
    DeliverySummary,
    PurgeQuery,
    Replayed,
    ReplayRequest,
    TenantQuery,
)
from api.tenants import named_tenant
from pipelines import webhook_admin
from pipelines.backoff import WEBHOOK

TAG = "Webhooks"

_Shown = TypeVar("_Shown", DeliverySummary, DeliveryDetail)


def list_page(call: Call) -> DeliveryPage:
    query = call.query
    page, total = webhook_admin.list_deliveries(
        call.services, query.filter(named_tenant(call, query.tenant_id)), limit=query.limit, offset=query.offset
    )
    events = [_with_limit(DeliverySummary, delivery) for delivery in page]
    return DeliveryPage(events=events, total=total, limit=query.limit, offset=query.offset)


def statistics(call: Call) -> DeliveryCounts:
    counts = webhook_admin.statistics(call.services, named_tenant(call, call.query.tenant_id))
    return DeliveryCounts(**counts, total=sum(counts.values()))


def find(call: Call) -> DeliveryDetail:
    found = webhook_admin.find_delivery(call.services, call.path.event_id)
    return _with_limit(DeliveryDetail, found)


def purge(call: Call) -> Deleted:
    return Deleted(
        deleted=webhook_admin.purge(call.services, call.query.filter(named_tenant(call, call.query.tenant_id)))
    )


def replay_one(call: Call) -> Replayed:
    webhook_admin.replay(call.services, call.path.event_id)
    return Replayed(replayed=1, remaining=0)


def replay_many(call: Call) -> Replayed:
    outcome = webhook_admin.replay_dead_letters(
        call.services, call.body.filter(named_tenant(call, call.body.tenant_id)), limit=call.body.limit
    )
    return Replayed(replayed=outcome.replayed, remaining=outcome.remaining)


def _with_limit(shown: type[_Shown], delivery: msgspec.Struct) -> _Shown:
    return shown(**msgspec.structs.asdict(delivery), max_attempts=WEBHOOK.attempts)


OPERATIONS = [
    Operation(
        "GET",
        "/admin/webhooks",
        "List webhooks, newest first",
        list_page,
        {200: DeliveryPage},
        tag=TAG,
        query=DeliveriesQuery,
        errors=(422, 503),
        description="One entry for each endpoint that an event is sent to.",
    ),
    Operation(
        "DELETE",
        "/admin/webhooks",
        "Delete finished webhooks",
        purge,
        {200: Deleted},
        tag=TAG,
        query=PurgeQuery,
        errors=(422, 503),
        description="Needs at least one criterion. Pending webhooks are never deleted.",
    ),
    Operation(
        "GET",
        "/admin/webhooks/stats",
        "Count webhooks by status",
        statistics,
        {200: DeliveryCounts},
        tag=TAG,
        query=TenantQuery,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        "/admin/webhooks/replay",
        "Send dead letters again",
        replay_many,
        {200: Replayed},
        tag=TAG,
        body=ReplayRequest,
        errors=(413, 422, 503),
        description="They keep their event ids and get all their attempts back. Repeat it until `remaining` is 0; a"
        " repetition never sends anything twice.",
    ),
    Operation(
        "GET",
        "/admin/webhooks/{event_id}",
        "One webhook with its failed attempts",
        find,
        {200: DeliveryDetail},
        tag=TAG,
        path_fields=DeliveryPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        "/admin/webhooks/{event_id}/replay",
        "Send a finished webhook again",
        replay_one,
        {200: Replayed},
        tag=TAG,
        path_fields=DeliveryPath,
        errors=(404, 409, 422, 503),
    ),
]
