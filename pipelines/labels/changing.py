"""Changing the labels of memories: set by hand, promoted from suggestions, suggestions dismissed.

Every change is versioned by the database and stands in the audit log with who made it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from config.clock import utcnow
from config.errors import BadRequest, Conflict, Forbidden, NotFound, ValidationFailed
from pipelines import audit
from pipelines.policy.bundle import normal_label
from pipelines.policy.in_force import caller_of, reading_as
from pipelines.principal import Principal
from pipelines.services import Services
from storage import labels as label_rows
from storage.labels import LabelledRow, SuggestionFilter
from storage.transactions import Connection, operator_transaction, tenant_transaction

#: Labels of one memory (contract: core §5.1).
MOST_LABELS = 32

#: Memories that one bulk operation changes at most; narrower filters take the others.
MOST_IN_BULK = 10_000


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What a bulk operation matched, and whether it was carried out."""

    matched: int
    changed: int
    confirmed: bool


class TooManyLabels(ValidationFailed):
    """A memory has at most 32 labels."""


def clean_labels(labels: Sequence[str]) -> list[str]:
    """Labels as they are stored: trimmed, lower case, without repetitions and blanks, sorted.

    Raises:
        TooManyLabels: when more than `MOST_LABELS` are left.
        ValidationFailed: when one holds characters that do not print.
    """
    cleaned = sorted({label for label in map(normal_label, labels) if label})
    if len(cleaned) > MOST_LABELS:
        message = f"a memory has at most {MOST_LABELS} labels; these are {len(cleaned)}"
        raise TooManyLabels(
            message, details=[{"loc": ["body", "sensitivity_labels"], "msg": message, "type": "too_long"}]
        )
    if not all(label.isprintable() for label in cleaned):
        raise ValidationFailed("labels must not contain control characters")
    return cleaned


def set_labels(
    services: Services,
    tenant_id: str,
    memory_id: str,
    labels: Sequence[str],
    *,
    principal: Principal,
    request_id: str | None = None,
) -> LabelledRow:
    """Replace the labels of a memory of the tenant.

    Raises:
        ValidationFailed: when there are too many.
        NotFound: when the tenant has no such memory, or the policy denies it to the tenant's key.
        Forbidden: when the policy redacts it for the tenant's key.
    """
    cleaned = clean_labels(labels)
    try:
        wanted = UUID(memory_id)
    except ValueError:
        raise _unknown(memory_id) from None
    _require_visible(services, tenant_id, wanted, principal)
    with tenant_transaction(services.pool, tenant_id) as conn:
        return _set(conn, tenant_id, wanted, cleaned, principal=principal, request_id=request_id)


def set_labels_anywhere(
    services: Services,
    tenant_id: str | None,
    memory_id: str,
    labels: Sequence[str],
    *,
    principal: Principal,
    request_id: str | None = None,
) -> LabelledRow:
    """As `set_labels`, for operators: in the tenant, or in whichever has the memory.

    Raises:
        BadRequest: when there are too many, or the id is no UUID.
        NotFound: when there is no such memory.
    """
    try:
        cleaned = clean_labels(labels)
    except TooManyLabels as ex:
        raise BadRequest(ex.message) from None
    with operator_transaction(services.pool) as conn:
        return _set(conn, tenant_id, _uuid(memory_id), cleaned, principal=principal, request_id=request_id)


def promote_labels(
    services: Services,
    tenant_id: str | None,
    memory_id: str,
    labels: Sequence[str],
    *,
    principal: Principal,
    request_id: str | None = None,
) -> tuple[LabelledRow, list[str]]:
    """Make suggested labels of a memory authoritative.

    Returns:
        The memory, and what was promoted.

    Raises:
        ValidationFailed: `promote_labels.empty`, `.duplicate_labels`, `.not_suggested`, `.too_many`.
        BadRequest: when the id is no UUID.
        NotFound: when there is no such memory.
    """
    wanted = _named(labels, "promote_labels")
    id = _uuid(memory_id)
    now = utcnow()
    with operator_transaction(services.pool) as conn:
        memory = _held(conn, tenant_id, id)
        _require_suggested(memory, wanted, "promote_labels")
        authoritative = sorted({*memory.sensitivity_labels, *wanted})
        if len(authoritative) > MOST_LABELS:
            raise ValidationFailed(f"a memory has at most {MOST_LABELS} labels", code="promote_labels.too_many")
        changed = label_rows.write_labels(
            conn,
            memory,
            labels=authoritative,
            suggested=[label for label in memory.suggested_labels if label not in wanted],
            promotion={"labels": wanted, "promoted_at": now.isoformat(), "promoted_by": principal.name},
            now=now,
        )
        _log(conn, memory, "memory.promote_labels", {"labels": wanted}, principal, request_id)
    return changed, wanted


def dismiss_labels(
    services: Services,
    tenant_id: str | None,
    memory_id: str,
    labels: Sequence[str],
    *,
    principal: Principal,
    request_id: str | None = None,
) -> tuple[LabelledRow, list[str]]:
    """Take suggestions off a memory. Checks and errors are those of `promote_labels`, as `dismiss_labels.*`."""
    wanted = _named(labels, "dismiss_labels")
    id = _uuid(memory_id)
    with operator_transaction(services.pool) as conn:
        memory = _held(conn, tenant_id, id)
        _require_suggested(memory, wanted, "dismiss_labels")
        changed = label_rows.write_labels(
            conn,
            memory,
            labels=memory.sensitivity_labels,
            suggested=[label for label in memory.suggested_labels if label not in wanted],
            now=utcnow(),
        )
        _log(conn, memory, "memory.dismiss_labels", {"labels": wanted}, principal, request_id)
    return changed, wanted


def suggested_page(
    services: Services, wanted: SuggestionFilter, *, limit: int, offset: int
) -> tuple[list[LabelledRow], int]:
    """One page of memories with suggestions, newest first, and how many there are."""
    with operator_transaction(services.pool) as conn:
        return label_rows.suggested(conn, wanted, limit=limit, offset=offset)


def settle_in_bulk(
    services: Services,
    wanted: SuggestionFilter,
    *,
    promote: bool,
    confirm: bool,
    expected_count: int | None,
    principal: Principal,
    request_id: str | None = None,
) -> Settled:
    """Promote or dismiss suggestions by filter: first a count, then, confirmed with that count, the change.

    Raises:
        BadRequest: when more than `MOST_IN_BULK` match, or the count is missing from a confirmation.
        Conflict: when another number matches by now than was expected.
    """
    now = utcnow()
    promotion = {"promoted_at": now.isoformat(), "promoted_by": principal.name} if promote else None
    with operator_transaction(services.pool) as conn:
        matched = label_rows.count_suggested(conn, wanted)
        if not confirm:
            return Settled(matched=matched, changed=0, confirmed=False)
        if expected_count is None:
            raise BadRequest("confirm goes with expected_count, which an answer without confirm tells")
        if matched > MOST_IN_BULK:
            raise BadRequest(f"{matched} memories match; at most {MOST_IN_BULK} are changed at once")
        changed = label_rows.settle_suggestions(conn, wanted, promotion=promotion, now=now) if matched else []
        if len(changed) != expected_count:
            raise Conflict(f"{len(changed)} memories match, not {expected_count}; nothing was changed")
        for tenant_id, count in Counter(tenant_id for tenant_id, _ in changed).items():
            audit.record(
                conn,
                actor=principal.name,
                action="memory.promote_labels_in_bulk" if promote else "memory.dismiss_labels_in_bulk",
                tenant_id=tenant_id,
                target=wanted.subject_id or "",
                details={"labels": list(wanted.labels or ()), "memories": count},
                request_id=request_id,
            )
    return Settled(matched=matched, changed=len(changed), confirmed=True)


def _set(
    conn: Connection,
    tenant_id: str | None,
    memory_id: UUID,
    labels: Sequence[str],
    *,
    principal: Principal,
    request_id: str | None,
) -> LabelledRow:
    memory = _held(conn, tenant_id, memory_id)
    if memory.sensitivity_labels == labels:
        return memory
    changed = label_rows.write_labels(conn, memory, labels=labels, suggested=memory.suggested_labels, now=utcnow())
    before, after = set(memory.sensitivity_labels), set(labels)
    details = {"added": sorted(after - before), "removed": sorted(before - after)}
    _log(conn, memory, "memory.set_labels", details, principal, request_id)
    return changed


def _require_visible(services: Services, tenant_id: str, memory_id: UUID, principal: Principal) -> None:
    """Keys of a tenant may not relabel what they may not read: it would be a way to read it."""
    if principal.kind != "tenant":
        return
    with reading_as(services, tenant_id, caller_of(principal)) as reader:
        memory = label_rows.lock_memory(reader.conn, tenant_id, memory_id)
        if memory is None:
            return
        visibility = reader.visibility(memory.subject_id)
    if not visibility.shows_memory(memory_id):
        raise _unknown(str(memory_id))
    if visibility.redacts(memory_id):
        raise Forbidden("the policy hides this memory from this key", code="policy_denied")


def _held(conn: Connection, tenant_id: str | None, memory_id: UUID) -> LabelledRow:
    memory = label_rows.lock_memory(conn, tenant_id, memory_id)
    if memory is None:
        raise _unknown(str(memory_id))
    return memory


def _named(labels: Sequence[str], code: str) -> list[str]:
    normal = [normal_label(label) for label in labels]
    if not normal:
        raise ValidationFailed("labels must not be empty", code=f"{code}.empty")
    if len(set(normal)) < len(normal):
        raise ValidationFailed("labels must not repeat", code=f"{code}.duplicate_labels")
    return sorted(normal)


def _require_suggested(memory: LabelledRow, labels: Sequence[str], code: str) -> None:
    missing = [label for label in labels if label not in memory.suggested_labels]
    if missing:
        raise ValidationFailed(f"not suggested for this memory: {', '.join(missing)}", code=f"{code}.not_suggested")


def _log(
    conn: Connection,
    memory: LabelledRow,
    action: str,
    details: dict[str, Any],
    principal: Principal,
    request_id: str | None,
) -> None:
    audit.record(
        conn,
        actor=principal.name,
        action=action,
        tenant_id=memory.tenant_id,
        target=str(memory.id),
        details=details,
        request_id=request_id,
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadRequest(f"{text!r} is no id") from None


def _unknown(memory_id: str) -> NotFound:
    return NotFound(f"there is no memory {memory_id}")
