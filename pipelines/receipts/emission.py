"""Writing receipts: whether, what, and at the end of which chain (contract: governance §2.1, §2.7, §2.8).

A receipt is written after its context has been made, in a transaction of its own, which travels with the end of the one
that the context was read in. If that fails the caller gets the context without a receipt: what agents are told must not
depend on the proof of it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version

import msgspec
import structlog

from config.clock import utcnow
from config.ids import ulid
from config.settings import Settings, receipts_disabled
from pipelines.context import ContextBundle, ContextRequest, assembling
from pipelines.policy_decisions import PolicyDecisions
from pipelines.receipts import body as bodies
from pipelines.receipts.body import Correlation
from pipelines.receipts.canonical import SIGNATURE, Body, joined, members_of
from pipelines.receipts.chain_writer import Ending
from pipelines.receipts.signing import Keyring, keyring_of
from pipelines.services import Services
from pipelines.support.handoff import Briefing, Handoff, HandoffRequest
from pipelines.tenant_config import TenantConfig, parse
from storage.reading import ReaderState
from storage.receipts import ChainHead, NewReceipt
from storage.transactions import DATABASE_AWAY

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


def context_with_receipt(
    services: Services, tenant_id: str, request: ContextRequest, *, asked: bool | None, correlation: Correlation
) -> ContextBundle:
    """A context, with the id of its receipt if one was written.

    Raises:
        Unauthenticated: when the tenant wants to know who asks, and the request does not say.
    """
    wanted = bool(asked) and not receipts_disabled(services.settings)
    bundle = None
    try:
        with assembling(services, tenant_id, request, wants_receipt=wanted) as (assembly, conn, state):
            receipt_id = emit(
                services,
                tenant_id,
                assembly.tenant_config,
                lambda: bodies.of_context(assembly, request),
                assembly.decisions,
                asked,
                correlation,
                mode=RETRIEVAL,
                ending=Ending(conn, _head(state)),
            )
            is_emitted = receipt_id is not None
            bundle = msgspec.structs.replace(assembly.bundle, receipt_id=receipt_id, receipt_emitted=is_emitted)
    except DATABASE_AWAY:
        # A connection that died of the receipt cannot end the reading any more, but all was read.
        if bundle is None:
            raise
    return bundle


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
    describe: Callable[[], Body],
    decisions: PolicyDecisions | None,
    asked: bool | None,
    correlation: Correlation,
    *,
    mode: str,
    ending: Ending | None = None,
) -> str | None:
    """Write a receipt unless something says not to. None where there is none; never raises.

    Args:
        ending: a transaction that is to end with it; without a receipt it is left as it is.
    """
    try:
        known = parse(tenant_config)
        config = known.config
        if "receipts" in known.unreadable:
            config = msgspec.structs.replace(config, receipts="always")
        decision = decide(services.settings, config, asked=asked)
        if not decision.emit:
            return None
        described = describe()
        told = {
            **described,
            "selected_entries": bodies.written_entries(described["selected_entries"]),
            **bodies.of_policy(decisions, mode=config.policy_mode, captured_at=utcnow(), policy=bodies.written_policy),
            **msgspec.structs.asdict(correlation),
            "mode": mode,
            "tenant_id": tenant_id or None,
            "region": services.settings.region,
            "emission_reason": decision.reason,
            "server_version": _version(),
        }
        receipt = append(services, tenant_id, told, key_id=config.receipt_signing_key_id, ending=ending)
        return str(receipt["receipt_id"])
    except Exception as ex:
        # Texts of exceptions may quote what was delivered: the log gets the type and the place, never the words.
        place = traceback.extract_tb(ex.__traceback__)[-1]
        at = f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
        log.error("receipt_emission_failed", tenant=tenant_id, error=type(ex).__name__, at=at)
        return None


def append(services: Services, tenant_id: str, told: Body, *, key_id: str | None, ending: Ending | None = None) -> Body:
    """Complete a body, sign it, and write it at the end of the tenant's chain (`ChainWriter`)."""
    keyring = keyring_of(services.settings)
    algorithm = keyring.algorithm_of(key_id) if key_id else None
    if key_id and algorithm is None:
        log.warning("receipt_signing_key_unavailable", tenant=tenant_id, key_id=key_id)

    def behind(head: ChainHead) -> tuple[Body, NewReceipt]:
        now = utcnow()
        body = {
            **told,
            "receipt_id": ulid(now),
            "created_at": now.isoformat(),
            "chain_seq": head.length + 1,
            "previous_hash": head.hash.hex(),
        }
        body, canonical, hash = signed(body, keyring, key_id if algorithm else None, algorithm)
        return body, _row(body, canonical, hash, now)

    return services.chains.write(services.pool, tenant_id, behind, ending)


def _head(state: ReaderState) -> ChainHead | None:
    if state.chain_length is None or state.chain_hash is None:
        return None
    return ChainHead(length=state.chain_length, hash=bytes(state.chain_hash))


def signed(body: Body, keyring: Keyring, key_id: str | None, algorithm: str | None) -> tuple[Body, bytes, bytes]:
    """The body with its signature, or with null where it cannot be signed; the bytes that the signature is over; and
    what the next receipt of the chain names as the hash of this one."""
    members = members_of(body)
    signature = None
    if key_id is not None and algorithm is not None:
        names = {"receipt_signature_key_id": key_id, "receipt_signature_algorithm": algorithm}
        named = {**members, **members_of(names)}
        try:
            signature = keyring.sign(joined(named), key_id)
            body, members = {**body, **names}, named
        except Exception as ex:
            log.error("receipt_signing_failed", key_id=key_id, error=type(ex).__name__)
    linked = joined({**members, **members_of({SIGNATURE: signature})})
    return {**body, SIGNATURE: signature}, joined(members), sha256(linked).digest()


def _row(body: Body, canonical: bytes, chain_hash: bytes, now: datetime) -> NewReceipt:
    return NewReceipt(
        receipt_id=body["receipt_id"],
        subject_id=body["subject_id"],
        mode=body["mode"],
        chain_seq=body["chain_seq"],
        chain_hash=chain_hash,
        canonical=canonical,
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
