"""The addresses that tenants have their events sent to: make, change, change the secret of, try out, remove."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec

from config import webhooks
from config.clock import utcnow
from config.errors import Conflict, FieldProblem, NotFound, ValidationFailed
from config.ids import uuid7
from config.settings import Settings
from pipelines import webhook_delivery
from pipelines.services import Services
from pipelines.webhook_delivery import Attempt
from storage import webhook_deliveries, webhook_endpoints
from storage.transactions import tenant_transaction
from storage.webhook_deliveries import Delivery
from storage.webhook_endpoints import MOST_PER_TENANT, Endpoint

#: How long a replaced secret signs as well, so that a receiver may learn the new one at any time in between.
SECRET_OVERLAP = timedelta(hours=24)

DISABLED_BY_HAND = "disabled by an operator"


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be set; None leaves it as it is."""

    url: str | None = None
    events: Sequence[str] | None = None
    description: str | None = None
    enabled: bool | None = None


def list_endpoints(services: Services, tenant_id: str) -> list[Endpoint]:
    """The tenant's endpoints, oldest first."""
    with tenant_transaction(services.pool, tenant_id) as conn:
        return webhook_endpoints.list_endpoints(conn, tenant_id)


def find_endpoint(services: Services, tenant_id: str, endpoint_id: UUID) -> Endpoint:
    """One of the tenant's endpoints.

    Raises:
        NotFound: when the tenant has no such endpoint.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        return _known(webhook_endpoints.find(conn, tenant_id, endpoint_id), endpoint_id)


def create_endpoint(
    services: Services, tenant_id: str, *, url: str, events: Sequence[str], description: str, secret: str | None,
    enabled: bool,
) -> Endpoint:  # fmt: skip
    """Add an endpoint. It hears of everything that is committed from now on.

    Args:
        events: the events it hears of; none means all.
        secret: `whsec_...`; None makes one.

    Raises:
        ValidationFailed: naming what is wrong with address, events or secret.
        Conflict: when the tenant has `MOST_PER_TENANT` endpoints already.
    """
    change = EndpointChange(url=url, events=events)
    _check(services.settings, change, secret=secret)
    with tenant_transaction(services.pool, tenant_id) as conn:
        created = webhook_endpoints.insert(
            conn,
            tenant_id,
            endpoint_id=uuid7(),
            url=url,
            events=list(dict.fromkeys(events)),
            description=description,
            secret=secret or webhooks.new_secret(),
            enabled=enabled,
            disabled_reason=None if enabled else DISABLED_BY_HAND,
        )
    if created is None:
        raise Conflict(f"a tenant may have {MOST_PER_TENANT} webhook endpoints; delete one first")
    return created


def change_endpoint(services: Services, tenant_id: str, endpoint_id: UUID, change: EndpointChange) -> Endpoint:
    """Change an endpoint. A new address, or enabling it, gives it a fresh start with its breaker.

    Raises:
        ValidationFailed: naming what is wrong with address or events.
        NotFound: when the tenant has no such endpoint.
    """
    _check(services.settings, change)
    with tenant_transaction(services.pool, tenant_id) as conn:
        changed = webhook_endpoints.update(
            conn,
            tenant_id,
            endpoint_id,
            url=change.url,
            events=None if change.events is None else list(dict.fromkeys(change.events)),
            description=change.description,
            enabled=change.enabled,
            disabled_reason=DISABLED_BY_HAND,
        )
        if changed is not None and (change.url or change.enabled):
            webhook_endpoints.well_again(conn, endpoint_id)
            webhook_deliveries.hurry(conn, endpoint_id, spread_seconds=webhook_delivery.HURRY_SECONDS)
    return _known(changed, endpoint_id)


def rotate_secret(services: Services, tenant_id: str, endpoint_id: UUID, *, secret: str | None) -> Endpoint:
    """Give an endpoint a new secret. The former one signs as well for `SECRET_OVERLAP`.

    Args:
        secret: `whsec_...`; None makes one.

    Raises:
        ValidationFailed: when it is not a secret.
        NotFound: when the tenant has no such endpoint.
    """
    _check(services.settings, EndpointChange(), secret=secret)
    with tenant_transaction(services.pool, tenant_id) as conn:
        rotated = webhook_endpoints.rotate(
            conn, tenant_id, endpoint_id, secret=secret or webhooks.new_secret(), overlap=SECRET_OVERLAP
        )
    return _known(rotated, endpoint_id)


def delete_endpoint(services: Services, tenant_id: str, endpoint_id: UUID) -> int:
    """Remove an endpoint with all that was not delivered to it.

    Returns:
        How many undelivered events went with it.

    Raises:
        NotFound: when the tenant has no such endpoint.
    """
    with tenant_transaction(services.pool, tenant_id) as conn:
        if not webhook_endpoints.delete(conn, tenant_id, endpoint_id):
            raise _unknown(endpoint_id)
        return webhook_deliveries.forget_endpoint(conn, tenant_id, endpoint_id)


def try_endpoint(services: Services, tenant_id: str, endpoint_id: UUID) -> Attempt:
    """Send a `webhook.test` event, once, now and in this process. Nothing of it is stored.

    Raises:
        NotFound: when the tenant has no such endpoint.
    """
    endpoint = find_endpoint(services, tenant_id, endpoint_id)
    delivery = Delivery(
        event_id=uuid7(),
        endpoint_id=endpoint.id,
        event=webhooks.TEST_EVENT,
        data=msgspec.Raw(msgspec.json.encode({"endpoint_id": endpoint.id})),
        created_at=utcnow(),
        trying_for=timedelta(0),
        url=endpoint.url,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        in_trouble=False,
        breaker_open=False,
        secrets=[endpoint.secret],
    )
    return webhook_delivery.send(
        services.settings, delivery, endpoint.url, delivery.secrets, tenant_id=tenant_id, attempt=1
    )


def _check(settings: Settings, change: EndpointChange, *, secret: str | None = None) -> None:
    problems: list[FieldProblem] = []

    def refuse(field: str, reason: str) -> None:
        problems.append({"loc": ["body", field], "msg": reason, "type": "invalid_value"})

    if change.url is not None:
        try:
            webhooks.split_url(change.url)
            if not settings.webhook_allow_private and webhooks.names_private_host(change.url):
                refuse("url", "is not on the public internet")
        except ValueError as ex:
            refuse("url", str(ex))
    if change.events is not None:
        try:
            webhooks.check_events(tuple(change.events))
        except ValueError as ex:
            refuse("events", str(ex))
    if secret is not None:
        try:
            webhooks.secret_key(secret)
        except ValueError as ex:
            refuse("secret", str(ex))
    if problems:
        names = ", ".join(str(problem["loc"][-1]) for problem in problems)
        raise ValidationFailed(f"The request is not valid: {names}", details=problems)


def _known(endpoint: Endpoint | None, endpoint_id: UUID) -> Endpoint:
    if endpoint is None:
        raise _unknown(endpoint_id)
    return endpoint


def _unknown(endpoint_id: UUID) -> NotFound:
    return NotFound(f"the tenant has no webhook endpoint {endpoint_id}")
