"""Policy bundles as operators handle them: check, upload, look at, activate, deactivate (contract: governance §4.5).

A scope is a tenant, or None: the global one, which holds for every tenant without an active bundle of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from config.clock import utcnow
from config.errors import BadRequest, FieldProblem, NotFound
from config.ids import uuid7
from pipelines import audit
from pipelines.policy.bundle import Bundle
from pipelines.policy.document import BundleProblem
from pipelines.policy.reader import Reading, read_bundle
from pipelines.principal import Principal
from pipelines.services import Services
from storage import policies
from storage.policies import BundleRow
from storage.transactions import operator_transaction

log = structlog.get_logger()


def require_bundle(text: str) -> Bundle:
    """The bundle of a document.

    Raises:
        BadRequest: when it has problems; the message is the first, `details` are all of them with their lines.
    """
    reading = read_bundle(text)
    if reading.bundle is None:
        raise BadRequest(_sentence(reading), code="invalid_policy", details=[_detail(p) for p in reading.problems])
    return reading.bundle


def upload(
    services: Services,
    tenant_id: str | None,
    text: str,
    *,
    activate: bool,
    principal: Principal,
    request_id: str | None = None,
) -> tuple[Bundle, BundleRow]:
    """Keep a bundle for a scope. The same rules again are the same bundle.

    Raises:
        BadRequest: when the document has problems.
    """
    bundle = require_bundle(text)
    now = utcnow()
    with operator_transaction(services.pool) as conn:
        row = policies.insert_bundle(
            conn,
            uuid7(),
            tenant_id=tenant_id,
            bundle_hash=bundle.bundle_hash,
            yaml_content=text,
            created_by=principal.name,
            now=now,
        )
        if activate:
            policies.activate(conn, tenant_id, bundle.bundle_hash, actor=principal.name, now=now)
        audit.record(
            conn,
            actor=principal.name,
            action="policy.upload",
            tenant_id=tenant_id,
            target=bundle.bundle_hash,
            details={"rules": len(bundle.rules), "activated": activate},
            request_id=request_id,
        )
    log.info("policy_bundle_uploaded", bundle_hash=bundle.bundle_hash, tenant_id=tenant_id, activated=activate)
    return bundle, row


def list_bundles(services: Services, tenant_id: str | None) -> Sequence[BundleRow]:
    """The bundles that a tenant has or could fall back to; without a tenant those of every scope. Newest first."""
    with operator_transaction(services.pool) as conn:
        return policies.list_bundles(conn, tenant_id)


def find(services: Services, tenant_id: str | None, bundle_hash: str) -> tuple[Bundle, BundleRow]:
    """One bundle of a scope; a tenant's falls back to the global one.

    Raises:
        NotFound: when there is none, with a hint when another scope has it.
    """
    with operator_transaction(services.pool) as conn:
        row = policies.find_bundle(conn, tenant_id, bundle_hash)
        if row is None and tenant_id is not None:
            row = policies.find_bundle(conn, None, bundle_hash)
        if row is None:
            elsewhere = tenant_id is None and policies.has_bundle_elsewhere(conn, bundle_hash)
            raise _unknown(bundle_hash, elsewhere=elsewhere)
    return require_bundle(row.yaml_content), row


def activate(
    services: Services,
    tenant_id: str | None,
    bundle_hash: str,
    *,
    principal: Principal,
    request_id: str | None = None,
) -> None:
    """Put a bundle of the scope into force in place of the one that is.

    Raises:
        NotFound: when the scope has no such bundle.
    """
    with operator_transaction(services.pool) as conn:
        if policies.find_bundle(conn, tenant_id, bundle_hash) is None:
            elsewhere = tenant_id is None and policies.has_bundle_elsewhere(conn, bundle_hash)
            raise _unknown(bundle_hash, elsewhere=elsewhere)
        policies.activate(conn, tenant_id, bundle_hash, actor=principal.name, now=utcnow())
        audit.record(
            conn,
            actor=principal.name,
            action="policy.activate",
            tenant_id=tenant_id,
            target=bundle_hash,
            request_id=request_id,
        )


def deactivate(
    services: Services, tenant_id: str | None, *, principal: Principal, request_id: str | None = None
) -> str | None:
    """Take the scope's bundle out of force. A tenant falls back to the global one.

    Returns:
        The hash of what was in force; None when nothing was.
    """
    with operator_transaction(services.pool) as conn:
        active = policies.active_bundle(conn, tenant_id)
        if active is None or active.tenant_id != tenant_id:
            return None
        policies.activate(conn, tenant_id, None, actor=principal.name, now=utcnow())
        audit.record(
            conn,
            actor=principal.name,
            action="policy.deactivate",
            tenant_id=tenant_id,
            target=active.bundle_hash,
            request_id=request_id,
        )
    return active.bundle_hash


def active(services: Services, tenant_id: str | None) -> tuple[Bundle, BundleRow] | None:
    """The bundle in force for a tenant, or the global one; None when there is none."""
    with operator_transaction(services.pool) as conn:
        row = policies.active_bundle(conn, tenant_id)
    return None if row is None else (require_bundle(row.yaml_content), row)


def _sentence(reading: Reading) -> str:
    first, others = reading.problems[0], len(reading.problems) - 1
    where = f"line {first.line}" + (f", rule {first.rule!r}" if first.rule else "")
    more = f" (and {others} more problem{'s' if others > 1 else ''})" if others else ""
    return f"{where}: {first.message}{more}"


def _detail(problem: BundleProblem) -> FieldProblem:
    loc: list[str | int] = ["body", "yaml_content", problem.line]
    return {"loc": loc, "msg": problem.message, "type": "invalid_policy"}


def _unknown(bundle_hash: str, *, elsewhere: bool) -> NotFound:
    hint = "; a tenant has one of this hash: name it with tenant_id" if elsewhere else ""
    return NotFound(f"there is no policy bundle {bundle_hash}{hint}")
