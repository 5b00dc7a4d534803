"""What operators see of deliveries and do about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import BadRequest, Conflict, NotFound
from pipelines.piecemeal import piecemeal
from pipelines.services import Services
from storage import webhook_log
from storage.transactions import operator_transaction
from storage.webhook_log import DeliveryHistory, Filter, LoggedDelivery


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many dead letters were made due again, and how many of the same selection are left."""

    replayed: int
    remaining: int


def list_deliveries(services: Services, wanted: Filter, *, limit: int, offset: int) -> tuple[list[LoggedDelivery], int]:
    """One page, newest first, and the number of all that match."""
    with operator_transaction(services.pool) as conn:
        return webhook_log.list_deliveries(conn, wanted, limit=limit, offset=offset)


def find_delivery(services: Services, delivery_id: UUID) -> DeliveryHistory:
    """One delivery with its failed attempts. The id of an event finds one of its deliveries.

    Raises:
        NotFound: when there is none, or it is past its retention.
    """
    with operator_transaction(services.pool) as conn:
        found = webhook_log.find(conn, delivery_id)
    if found is None:
        raise _unknown(delivery_id)
    return found


def statistics(services: Services, tenant_id: str | None) -> dict[str, int]:
    """Deliveries by status, of one tenant or of all."""
    with operator_transaction(services.pool) as conn:
        return webhook_log.statistics(conn, tenant_id)


def purge(services: Services, wanted: Filter) -> int:
    """Delete deliveries that are finished, in small transactions.

    Returns:
        How many were deleted.

    Raises:
        BadRequest: when nothing is selected, or something that is not finished.
    """
    if wanted == Filter():
        raise BadRequest("name what to delete: at least one of status, event_type and tenant_id")
    if wanted.status == "pending":
        raise BadRequest("only delivered and dead_letter webhooks can be deleted; pending ones are still to be sent")
    statuses = [wanted.status] if wanted.status else ["delivered", "dead_letter"]
    return sum(_purge_status(services, msgspec.structs.replace(wanted, status=status)) for status in statuses)


def replay(services: Services, delivery_id: UUID) -> None:
    """Send a finished delivery once more, with all its attempts before it, under the same event id.

    Raises:
        NotFound: when there is none.
        Conflict: when it is to be sent anyway.
    """
    with operator_transaction(services.pool) as conn:
        if webhook_log.replay_one(conn, delivery_id):
            return
        if webhook_log.find(conn, delivery_id) is None:
            raise _unknown(delivery_id)
    raise Conflict(f"webhook {delivery_id} is pending already")


def replay_dead_letters(services: Services, wanted: Filter, *, limit: int) -> Replayed:
    """Send dead letters once more, oldest first, at most `limit`.

    Repeating the request does no harm: what it replayed is no dead letter any more.
    """
    dead = msgspec.structs.replace(wanted, status="dead_letter")
    with operator_transaction(services.pool) as conn:
        replayed = webhook_log.replay_many(conn, dead, limit=limit)
        _, remaining = webhook_log.list_deliveries(conn, dead, limit=1, offset=0)
    return Replayed(len(replayed), remaining)


def purge_delivered(services: Services) -> int:
    """Delete what was delivered longer ago than `STATEWAVE_WEBHOOK_RETENTION_HOURS`. Dead letters stay.

    Returns:
        How many were deleted.
    """
    hours = services.settings.webhook_retention_hours
    if hours == 0:
        return 0
    before = utcnow() - timedelta(hours=hours)
    return piecemeal(services.pool, lambda conn, most: webhook_log.purge_delivered(conn, before=before, limit=most))


def _purge_status(services: Services, wanted: Filter) -> int:
    return piecemeal(services.pool, lambda conn, most: webhook_log.purge(conn, wanted, limit=most))


def _unknown(delivery_id: UUID) -> NotFound:
    return NotFound(f"there is no webhook {delivery_id}")
