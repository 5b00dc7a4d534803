"""Writing receipts: whether, what, and at the end of which chain (contract: governance §2.1, §2.7, §2.8).

A receipt is written after its context has been made, in a transaction of its own. If that fails the caller gets the
context without a receipt: what agents are told must not depend on the proof of it.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import structlog

from config.clock import utcnow
from config.ids import ulid
from config.settings import Settings, receipts_disabled
from pipelines.context import Assembly, ContextBundle, ContextRequest
from pipelines.receipts import body as bodies
from pipelines.receipts.body import Correlation
from pipelines.receipts.canonical import SIGNATURE, Body, canonical_bytes, chain_hash
from pipelines.receipts.signing import Keyring, keyring_of
from pipelines.services import Services
from pipelines.support.handoff import Briefing, Handoff, HandoffRequest
from pipelines.tenant_config import TenantConfig, parse
from storage import receipts
from storage.receipts import ChainHead, NewReceipt
from storage.transactions import tenant_transaction

log = structlog.get_logger()

RETRIEVAL = "retrieval"
REPLAY = "as_of_replay"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a receipt is written, and which step decided."""

    emit: bool
    reason: str


def decide(settings: Settings, config: TenantConfig, *, asked: bool | None) -> Decision:
    """The first step that decides wins: the kill switch, the tenant, the request."""
    if receipts_disabled(settings):
        return Decision(emit=False, reason="kill_switch")
    if config.receipts != "on_request":
        return Decision(emit=config.receipts == "always", reason=f"tenant_{config.receipts}")
    return Decision(emit=bool(asked), reason="request_flag" if asked else "default_off")


def with_receipt(
    services: Services,
    tenant_id: str,
    assembly: Assembly,
    request: ContextRequest,
    *,
    asked: bool | None,
    correlation: Correlation,
    mode: str = RETRIEVAL,
) -> ContextBundle:
    """The bundle, with the id of its receipt if one was written."""
    embedder = services.embedder

    def describe() -> Body:
        return bodies.of_context(assembly, request, model=embedder.model if embedder else None)

    receipt_id = emit(
        services, tenant_id, assembly.tenant_config, describe, assembly.decisions, asked, correlation, mode=mode
    )
    return msgspec.structs.replace(assembly.bundle, receipt_id=receipt_id, receipt_emitted=receipt_id is not None)


def handoff_with_receipt(
    services: Services,
    tenant_id: str,
    briefing: Briefing,
    request: HandoffRequest,
    *,
    asked: bool | None,
    correlation: Correlation,
    mode: str = RETRIEVAL,
) -> Handoff:
    """The handoff, with the id of its receipt if one was written."""

    def describe() -> Body:
        return bodies.of_handoff(briefing, request)

    receipt_id = emit(
        services, tenant_id, briefing.tenant_config, describe, briefing.decisions, asked, correlation, mode=mode
    )
    return msgspec.structs.replace(briefing.handoff, receipt_id=receipt_id, receipt_emitted=receipt_id is not None)


def emit(
    services: Services,
    tenant_id: str,
    tenant_config: str | None,
    describe: Any,
    decisions: Any,
    asked: bool | None,
    correlation: Correlation,
    *,
    mode: str,
) -> str | None:
    """Write a receipt unless something says not to. None where there is none; never raises."""
    try:
        config = parse(tenant_config).config
        decision = decide(services.settings, config, asked=asked)
        if not decision.emit:
            return None
        now = utcnow()
        told = {
            **describe(),
            **bodies.of_policy(decisions, mode=config.policy_mode, captured_at=now),
            **msgspec.structs.asdict(correlation),
            "mode": mode,
            "tenant_id": tenant_id or None,
            "region": getattr(services.settings, "region", None),
            "emission_reason": decision.reason,
            "server_version": _version(),
        }
        receipt = append(services, tenant_id, told, key_id=config.receipt_signing_key_id, now=now)
        return str(receipt["receipt_id"])
    except Exception as ex:
        log.error("receipt_emission_failed", tenant=tenant_id, error=type(ex).__name__, exc_info=True)
        return None


def append(services: Services, tenant_id: str, told: Body, *, key_id: str | None, now: datetime) -> Body:
    """Complete a body, sign it, and write it at the end of the tenant's chain.

    The chain is locked from the moment its head is read until the receipt is committed: signing and one statement.
    """
    keyring = keyring_of(services.settings)
    algorithm = keyring.algorithm_of(key_id) if key_id else None
    if key_id and algorithm is None:
        log.warning("receipt_signing_key_unavailable", tenant=tenant_id, key_id=key_id)
    receipt_id = ulid(now)
    with tenant_transaction(services.pool, tenant_id) as conn:
        head = receipts.lock_chain(conn, tenant_id)
        body = {
            **told,
            "receipt_id": receipt_id,
            "created_at": now.isoformat(),
            "chain_seq": head.length + 1,
            "previous_hash": head.hash.hex(),
        }
        body = signed(body, keyring, key_id if algorithm else None, algorithm)
        receipts.append(conn, tenant_id, _row(body, head, now))
    return body


def signed(body: Body, keyring: Keyring, key_id: str | None, algorithm: str | None) -> Body:
    """The body with its signature, or with null where it cannot be signed."""
    if key_id is None or algorithm is None:
        return {**body, SIGNATURE: None}
    named = {**body, "receipt_signature_key_id": key_id, "receipt_signature_algorithm": algorithm}
    try:
        return {**named, SIGNATURE: keyring.sign(canonical_bytes(named), key_id)}
    except Exception as ex:
        log.error("receipt_signing_failed", key_id=key_id, error=type(ex).__name__)
        return {**body, SIGNATURE: None}


def _row(body: Body, head: ChainHead, now: datetime) -> NewReceipt:
    unsigned = {key: value for key, value in body.items() if key != SIGNATURE}
    return NewReceipt(
        receipt_id=body["receipt_id"],
        subject_id=body["subject_id"],
        mode=body["mode"],
        chain_seq=head.length + 1,
        chain_hash=bytes.fromhex(chain_hash(body)),
        canonical=canonical_bytes(unsigned),
        signature=body[SIGNATURE],
        key_id=body.get("receipt_signature_key_id"),
        algorithm=body.get("receipt_signature_algorithm"),
        created_at=now,
    )


@cache
def _version() -> str:
    try:
        return version("statewave-server")
    except PackageNotFoundError:
        return "unknown"
