"""The addresses that tenants have their events sent to, for operators."""

from __future__ import annotations

from api.operations import Call, Operation
from api.resources.webhooks import TAG
from api.schemas.webhooks import (
    EndpointCreate,
    EndpointDeleted,
    EndpointList,
    EndpointPatch,
    EndpointPath,
    EndpointView,
    EndpointWithSecret,
    SecretRotate,
    TenantPath,
    TestOutcome,
)
from pipelines import webhook_endpoints
from pipelines.webhook_verdict import Verdict


def list_all(call: Call) -> EndpointList:
    endpoints = webhook_endpoints.list_endpoints(call.services, call.path.name)
    return EndpointList(endpoints=[EndpointView.of(endpoint) for endpoint in endpoints])


def create(call: Call) -> EndpointWithSecret:
    body = call.body
    endpoint = webhook_endpoints.create_endpoint(
        call.services,
        call.path.name,
        url=body.url,
        events=body.events,
        description=body.description,
        secret=body.secret,
        enabled=body.enabled,
    )
    return EndpointWithSecret.of(endpoint, secret=endpoint.secret)


def find(call: Call) -> EndpointView:
    return EndpointView.of(webhook_endpoints.find_endpoint(call.services, call.path.name, call.path.endpoint_id))


def change(call: Call) -> EndpointView:
    return EndpointView.of(
        webhook_endpoints.change_endpoint(call.services, call.path.name, call.path.endpoint_id, call.body.change())
    )


def rotate(call: Call) -> EndpointWithSecret:
    endpoint = webhook_endpoints.rotate_secret(
        call.services, call.path.name, call.path.endpoint_id, secret=call.body.secret
    )
    return EndpointWithSecret.of(endpoint, secret=endpoint.secret)


def delete(call: Call) -> EndpointDeleted:
    dropped = webhook_endpoints.delete_endpoint(call.services, call.path.name, call.path.endpoint_id)
    return EndpointDeleted(id=call.path.endpoint_id, undelivered_dropped=dropped)


def try_out(call: Call) -> TestOutcome:
    attempt = webhook_endpoints.try_endpoint(call.services, call.path.name, call.path.endpoint_id)
    delivered = attempt.verdict is Verdict.DELIVERED
    return TestOutcome(
        delivered=delivered,
        http_status=attempt.status,
        error=None if delivered else attempt.error,
        milliseconds=attempt.milliseconds,
    )


_OF_TENANT = "/admin/tenants/{tenant_id:path}/webhooks"
_ONE = _OF_TENANT + "/{endpoint_id}"

OPERATIONS = [
    Operation(
        "GET",
        _OF_TENANT,
        "List a tenant's webhook endpoints",
        list_all,
        {200: EndpointList},
        tag=TAG,
        path_fields=TenantPath,
        errors=(422, 503),
    ),
    Operation(
        "POST",
        _OF_TENANT,
        "Add a webhook endpoint",
        create,
        {201: EndpointWithSecret},
        tag=TAG,
        body=EndpointCreate,
        path_fields=TenantPath,
        errors=(409, 413, 422, 503),
        description="It hears of everything that is committed from now on. The answer is the only one that shows its"
        " secret.",
    ),
    Operation(
        "GET",
        _ONE,
        "One webhook endpoint",
        find,
        {200: EndpointView},
        tag=TAG,
        path_fields=EndpointPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "PATCH",
        _ONE,
        "Change a webhook endpoint",
        change,
        {200: EndpointView},
        tag=TAG,
        body=EndpointPatch,
        path_fields=EndpointPath,
        errors=(404, 413, 422, 503),
        description="Enabling it, or giving it another address, sends at once what waits for it.",
    ),
    Operation(
        "DELETE",
        _ONE,
        "Remove a webhook endpoint, with all that was not delivered to it",
        delete,
        {200: EndpointDeleted},
        tag=TAG,
        path_fields=EndpointPath,
        errors=(404, 422, 503),
    ),
    Operation(
        "POST",
        _ONE + "/rotate-secret",
        "Give a webhook endpoint a new secret",
        rotate,
        {200: EndpointWithSecret},
        tag=TAG,
        body=SecretRotate,
        path_fields=EndpointPath,
        errors=(404, 413, 422, 503),
        description="For 24 hours deliveries carry signatures of both secrets, so a receiver can change over at any"
        " time.",
    ),
    Operation(
        "POST",
        _ONE + "/test",
        "Send a test event to a webhook endpoint, now",
        try_out,
        {200: TestOutcome},
        tag=TAG,
        path_fields=EndpointPath,
        errors=(404, 422, 503),
        description="Sends `webhook.test` once, whether the endpoint is enabled or not, and reports what came back."
        " Nothing is stored.",
    ),
]
